//! Plans as a picture: layers from top to bottom, links as curves, colors by kind of work.
//!
//! The layout is the layered one of Sugiyama, Tagawa and Toda (1981): the layer of a node is the
//! longest way from a source; long links pass through points of their own in every layer between;
//! layers are ordered by the mean position of their neighbors, up and down, a few times.

use super::drawing::{Drawing, NodeKind};
use aimass_graph::OpFamily;
use std::fmt::Write;

const CHARACTER_WIDTH: f64 = 6.6;
const LINE_HEIGHT: f64 = 14.0;
const PADDING: f64 = 10.0;
const NODE_GAP: f64 = 24.0;
const LAYER_GAP: f64 = 46.0;
const MARGIN: f64 = 24.0;
const HEADING: f64 = 34.0;
/// Width that a passing link takes.
const POINT_WIDTH: f64 = 8.0;
/// Points of long links of one drawing; beyond that links are straight.
const POINTS_MAX: usize = 20_000;
/// Times that layers are ordered and moved.
const SWEEPS: usize = 8;

/// All drawings below one another, as one SVG file that needs nothing else.
pub(super) fn picture(name: &str, drawings: &[Drawing]) -> String {
    let layouts: Vec<Layout> = drawings.iter().map(Layout::new).collect();
    let width = layouts.iter().map(|layout| layout.width).fold(640.0, f64::max) + 2.0 * MARGIN;
    let each = layouts.iter().map(|layout| layout.height + HEADING + MARGIN);
    let height = each.sum::<f64>() + 2.0 * HEADING + MARGIN;
    let mut text = String::new();
    write_picture(&mut text, (width, height), name, drawings.iter().zip(&layouts))
        .expect("writing to a string does not fail");
    text
}

fn write_picture<'a>(
    text: &mut String,
    (width, height): (f64, f64),
    name: &str,
    drawings: impl Iterator<Item = (&'a Drawing, &'a Layout)>,
) -> std::fmt::Result {
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(text, "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>")?;
    writeln!(
        text,
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#607d8b\"/></marker></defs>"
    )?;
    let title = escaped(name);
    writeln!(
        text,
        "<text x=\"{MARGIN}\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{title}</text>"
    )?;
    write_legend(text)?;
    let mut top = 2.0 * HEADING;
    for (drawing, layout) in drawings {
        let title = escaped(&drawing.title);
        writeln!(text, "<g transform=\"translate({MARGIN} {top:.1})\">")?;
        writeln!(text, "<text y=\"16\" font-size=\"13\" font-weight=\"bold\">{title}</text>")?;
        writeln!(text, "<g transform=\"translate(0 {HEADING})\">")?;
        write_links(text, drawing, layout)?;
        write_nodes(text, drawing, layout)?;
        writeln!(text, "</g>\n</g>")?;
        top += layout.height + HEADING + MARGIN;
    }
    writeln!(text, "</svg>")
}

fn write_legend(text: &mut String) -> std::fmt::Result {
    let mut x = MARGIN;
    for family in OpFamily::ALL {
        let (color, name) = (NodeKind::Step(family).color(), family.name());
        writeln!(
            text,
            "<rect x=\"{x:.0}\" y=\"38\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{color}\" \
             stroke=\"#90a4ae\"/><text x=\"{:.0}\" y=\"48\">{name}</text>",
            x + 16.0
        )?;
        x += 30.0 + CHARACTER_WIDTH * name.len() as f64;
    }
    Ok(())
}

fn write_links(text: &mut String, drawing: &Drawing, layout: &Layout) -> std::fmt::Result {
    for (link, points) in drawing.links.iter().zip(&layout.ways) {
        let places: Vec<(f64, f64, f64)> = points.iter().map(|&cell| layout.place(cell)).collect();
        let Some((first, rest)) = places.split_first() else { continue };
        let (mut x, mut y) = (first.0, first.1 + first.2);
        let mut path = format!("M{x:.1} {y:.1}");
        for (index, &(to_x, to_y, height)) in rest.iter().enumerate() {
            let middle = (y + to_y) / 2.0;
            write!(path, "C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}")?;
            (x, y) = (to_x, to_y);
            if index + 1 < rest.len() {
                y += height;
                write!(path, "L{x:.1} {y:.1}")?;
            }
        }
        let title = escaped(&link.title);
        writeln!(
            text,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#607d8b\" stroke-width=\"1.2\" \
             marker-end=\"url(#arrow)\"><title>{title}</title></path>"
        )?;
    }
    Ok(())
}

fn write_nodes(text: &mut String, drawing: &Drawing, layout: &Layout) -> std::fmt::Result {
    for (index, node) in drawing.nodes.iter().enumerate() {
        let cell = &layout.cells[index];
        let (left, top) = (cell.x - cell.width / 2.0, layout.tops[cell.layer]);
        let radius = match node.kind {
            NodeKind::Source | NodeKind::Output => 12,
            NodeKind::Step(_) => 4,
        };
        let (title, color) = (escaped(&node.title), node.kind.color());
        writeln!(text, "<g><title>{title}</title>")?;
        writeln!(
            text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius}\" \
             fill=\"{color}\" stroke=\"#90a4ae\"/>",
            cell.width, cell.height
        )?;
        for (line, label) in node.lines.iter().enumerate() {
            let y = top + PADDING / 2.0 + LINE_HEIGHT * (line as f64 + 0.8);
            let (x, label) = (cell.x, escaped(label));
            writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"
            )?;
        }
        writeln!(text, "</g>")?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A node, or a point of a long link.
struct Cell {
    layer: usize,
    width: f64,
    height: f64,
    /// Its middle.
    x: f64,
}

/// Where everything is.
struct Layout {
    /// Nodes first, then points.
    cells: Vec<Cell>,
    /// Cells of each layer, from left to right.
    layers: Vec<Vec<usize>>,
    /// Upper edge of each layer, and its height.
    tops: Vec<f64>,
    heights: Vec<f64>,
    /// Cells that each link visits, its ends included.
    ways: Vec<Vec<usize>>,
    width: f64,
    height: f64,
}

impl Layout {
    fn new(drawing: &Drawing) -> Layout {
        let mut layout = Layout {
            cells: cells(drawing),
            layers: Vec::new(),
            tops: Vec::new(),
            heights: Vec::new(),
            ways: Vec::new(),
            width: 0.0,
            height: 0.0,
        };
        layout.add_ways(drawing);
        let count = layout.cells.iter().map(|cell| cell.layer + 1).max().unwrap_or(0);
        layout.layers = vec![Vec::new(); count];
        for (index, cell) in layout.cells.iter().enumerate() {
            layout.layers[cell.layer].push(index);
        }
        layout.spread();
        let neighbors = layout.neighbors();
        for sweep in 0..SWEEPS {
            layout.sweep(&neighbors, sweep % 2 == 0);
        }
        layout.settle();
        layout
    }

    /// Middle, upper edge and height of the layer of a cell; of nodes their own height.
    fn place(&self, cell: usize) -> (f64, f64, f64) {
        let Cell { layer, height, x, .. } = self.cells[cell];
        let height = if height > 0.0 { height } else { self.heights[layer] };
        (x, self.tops[layer], height)
    }

    fn add_ways(&mut self, drawing: &Drawing) {
        let layer = |cell: usize| self.cells[cell].layer;
        let spans =
            drawing.links.iter().map(|link| layer(link.to).saturating_sub(layer(link.from)));
        let points: usize = spans.map(|span| span.saturating_sub(1)).sum();
        for link in &drawing.links {
            let mut way = vec![link.from];
            if points <= POINTS_MAX {
                for layer in self.cells[link.from].layer + 1..self.cells[link.to].layer {
                    way.push(self.cells.len());
                    self.cells.push(Cell { layer, width: POINT_WIDTH, height: 0.0, x: 0.0 });
                }
            }
            way.push(link.to);
            self.ways.push(way);
        }
    }

    /// Cells above and below each cell.
    fn neighbors(&self) -> [Vec<Vec<usize>>; 2] {
        let mut neighbors =
            [vec![Vec::new(); self.cells.len()], vec![Vec::new(); self.cells.len()]];
        for pair in self.ways.iter().flat_map(|way| way.windows(2)) {
            neighbors[0][pair[1]].push(pair[0]);
            neighbors[1][pair[0]].push(pair[1]);
        }
        neighbors
    }

    /// Puts every layer side by side around 0, in its present order.
    fn spread(&mut self) {
        for layer in &self.layers {
            let widths = layer.iter().map(|&cell| self.cells[cell].width + NODE_GAP);
            let mut left = -widths.sum::<f64>() / 2.0;
            for &cell in layer {
                let cell = &mut self.cells[cell];
                cell.x = left + (cell.width + NODE_GAP) / 2.0;
                left += cell.width + NODE_GAP;
            }
        }
    }

    /// Orders layer after layer by the mean of its neighbors on one side, and moves it there.
    fn sweep(&mut self, neighbors: &[Vec<Vec<usize>>; 2], down: bool) {
        let side = &neighbors[usize::from(!down)];
        let order: Vec<usize> = match down {
            true => (0..self.layers.len()).collect(),
            false => (0..self.layers.len()).rev().collect(),
        };
        for layer in order {
            let mut wanted: Vec<(f64, usize)> = self.layers[layer]
                .iter()
                .map(|&cell| {
                    let near = &side[cell];
                    let sum: f64 = near.iter().map(|&other| self.cells[other].x).sum();
                    let mean =
                        if near.is_empty() { self.cells[cell].x } else { sum / near.len() as f64 };
                    (mean, cell)
                })
                .collect();
            wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.place_layer(&wanted);
            self.layers[layer] = wanted.into_iter().map(|(_, cell)| cell).collect();
        }
    }

    /// Puts cells as near to where they want to be as their widths allow: the mean of pushing to the
    /// right from the left end and to the left from the right end.
    fn place_layer(&mut self, wanted: &[(f64, usize)]) {
        let gap = |a: &Cell, b: &Cell| (a.width + b.width) / 2.0 + NODE_GAP;
        let mut right: Vec<f64> = wanted.iter().map(|(x, _)| *x).collect();
        let mut left = right.clone();
        for i in 1..wanted.len() {
            let needed = gap(&self.cells[wanted[i - 1].1], &self.cells[wanted[i].1]);
            right[i] = right[i].max(right[i - 1] + needed);
        }
        for i in (1..wanted.len()).rev() {
            let needed = gap(&self.cells[wanted[i - 1].1], &self.cells[wanted[i].1]);
            left[i - 1] = left[i - 1].min(left[i] - needed);
        }
        for (index, (_, cell)) in wanted.iter().enumerate() {
            self.cells[*cell].x = (left[index] + right[index]) / 2.0;
        }
    }

    /// Heights of the layers, and the left edge at 0.
    fn settle(&mut self) {
        let mut top = 0.0;
        for layer in &self.layers {
            let height = layer.iter().map(|&cell| self.cells[cell].height).fold(0.0, f64::max);
            self.tops.push(top);
            self.heights.push(height);
            top += height + LAYER_GAP;
        }
        self.height = (top - LAYER_GAP).max(0.0);
        let edge = |cell: &Cell, side: f64| cell.x + side * cell.width / 2.0;
        let left = self.cells.iter().map(|cell| edge(cell, -1.0)).fold(f64::INFINITY, f64::min);
        let right = self.cells.iter().map(|cell| edge(cell, 1.0)).fold(f64::NEG_INFINITY, f64::max);
        if left.is_finite() {
            self.cells.iter_mut().for_each(|cell| cell.x -= left);
            self.width = right - left;
        }
    }
}

/// A cell for each node, in its layer.
fn cells(drawing: &Drawing) -> Vec<Cell> {
    let mut layers = vec![0usize; drawing.nodes.len()];
    // Steps are in the order in which they run; inputs and outputs stand behind them.
    let from_sources = drawing.links.iter().filter(|link| link.from > link.to);
    for link in from_sources {
        layers[link.to] = layers[link.to].max(1);
    }
    for link in drawing.links.iter().filter(|link| link.from < link.to) {
        layers[link.to] = layers[link.to].max(layers[link.from] + 1);
    }
    let cell = |(node, layer): (&super::drawing::Node, usize)| {
        let longest = node.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let width = longest as f64 * CHARACTER_WIDTH + 2.0 * PADDING;
        let height = node.lines.len() as f64 * LINE_HEIGHT + PADDING;
        Cell { layer, width, height, x: 0.0 }
    };
    drawing.nodes.iter().zip(layers).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::super::drawing::{Link, Node};
    use super::*;

    /// Steps 0 to 3 in a chain with a residual from 0 to 3, an input (4) and an output (5).
    fn drawing() -> Drawing {
        let node =
            |kind, name: &str| Node { kind, lines: vec![name.to_owned()], title: name.to_owned() };
        let step = NodeKind::Step(OpFamily::Product);
        let names = ["a", "b <&>", "c", "d"];
        let mut nodes: Vec<Node> = names.iter().map(|name| node(step, name)).collect();
        nodes.extend([node(NodeKind::Source, "x"), node(NodeKind::Output, "y")]);
        let pairs = [(4, 0), (0, 1), (1, 2), (0, 3), (2, 3), (3, 5)];
        let title = |from, to| format!("{from} to {to}");
        let links = pairs.iter().map(|&(from, to)| Link { from, to, title: title(from, to) });
        Drawing { title: "plan".to_owned(), nodes, links: links.collect() }
    }

    #[test]
    fn every_link_leads_down_and_long_ones_pass_every_layer() {
        let (drawing, layout) = (drawing(), Layout::new(&drawing()));
        let layer = |cell: usize| layout.cells[cell].layer;
        assert_eq!((0..6).map(layer).collect::<Vec<_>>(), [1, 2, 3, 4, 0, 5]);
        for (link, way) in drawing.links.iter().zip(&layout.ways) {
            let layers: Vec<usize> = way.iter().map(|&cell| layer(cell)).collect();
            let all: Vec<usize> = (layer(link.from)..=layer(link.to)).collect();
            assert_eq!(layers, all);
        }
    }

    #[test]
    fn cells_of_a_layer_do_not_overlap_and_all_are_inside() {
        let layout = Layout::new(&drawing());
        for layer in &layout.layers {
            for pair in layer.windows(2) {
                let [a, b] = [pair[0], pair[1]].map(|cell| &layout.cells[cell]);
                assert!(a.x + a.width / 2.0 < b.x - b.width / 2.0);
            }
        }
        for cell in &layout.cells {
            assert!(cell.x - cell.width / 2.0 >= -1e-9);
            assert!(cell.x + cell.width / 2.0 <= layout.width + 1e-9);
        }
    }

    #[test]
    fn a_picture_shows_every_node_and_link_and_is_well_formed() {
        let text = picture("model & co", &[drawing(), drawing()]);
        assert_eq!(text.matches("marker-end").count(), 12);
        assert_eq!(text.matches("<g><title>").count(), 12);
        assert!(text.contains("b &lt;&amp;&gt;") && text.contains("model &amp; co"), "{text}");
        assert!(text.contains("<title>0 to 3</title>"), "{text}");
        for tag in ["g", "svg", "text", "title"] {
            let open = text.matches(&format!("<{tag}>")).count()
                + text.matches(&format!("<{tag} ")).count();
            assert_eq!(open, text.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let empty = Drawing { title: String::new(), nodes: Vec::new(), links: Vec::new() };
        assert!(picture("empty", &[empty]).ends_with("</svg>\n"));
    }
}
