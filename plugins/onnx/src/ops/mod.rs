//! What each operator of ONNX is in the contract's ops, one file a family.

pub(crate) mod attention;
mod cast;
mod composite;
mod conv;
mod deform_conv;
mod detection;
mod determinant;
mod einsum;
mod elementwise;
mod grid;
mod index;
mod layer_norm;
mod layout;
mod linear_attention;
mod loss;
mod matmul;
mod microsoft;
mod ml;
mod norm;
mod pattern;
mod pool;
mod quantize;
mod quantized;
mod random;
mod ranks;
mod re2;
mod recurrent;
mod reduce;
mod resize;
mod roi_align;
mod rotary;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod softmax;
mod strings;
mod taps;
mod text_cast;
mod tfidf;
mod training;
mod unique;
mod window;

use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, Value, unsupported};
use std::collections::HashMap;
use std::sync::OnceLock;

pub(crate) use composite::lower_composite;
pub(crate) use sequence::{join, stack};
pub(crate) use strings::{concat_texts, text_at};

/// Turns a node into ops of the contract; answers its outputs.
pub(crate) type Lowering = fn(&mut Cx<'_>, Inputs<'_>) -> R<Vec<Value>>;

/// Operators of one family.
pub(crate) type Table = &'static [(&'static str, Lowering)];

/// The families of the default domain.
const TABLES: &[Table] = &[
    attention::TABLE,
    cast::TABLE,
    conv::TABLE,
    deform_conv::TABLE,
    detection::TABLE,
    determinant::TABLE,
    einsum::TABLE,
    elementwise::TABLE,
    grid::TABLE,
    index::TABLE,
    layer_norm::TABLE,
    layout::TABLE,
    linear_attention::TABLE,
    loss::TABLE,
    matmul::TABLE,
    norm::TABLE,
    pattern::TABLE,
    pool::TABLE,
    quantize::TABLE,
    quantized::TABLE,
    random::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    roi_align::TABLE,
    rotary::TABLE,
    scatter::TABLE,
    sequence::TABLE,
    shape::TABLE,
    signal::TABLE,
    softmax::TABLE,
    strings::TABLE,
    tfidf::TABLE,
    unique::TABLE,
];

/// Tables of other domains.
const DOMAINS: &[(&str, &[Table])] = &[
    ("", TABLES),
    ("ai.onnx.ml", ml::TABLES),
    ("ai.onnx.preview.training", &[training::TABLE]),
    ("com.microsoft", microsoft::TABLES),
];

/// Lowerings by domain and operator.
type Lowerings = HashMap<(&'static str, &'static str), Lowering>;

/// All lowerings. Made once: in the memory image that every instance starts with.
pub(crate) fn lowerings() -> &'static Lowerings {
    static ALL: OnceLock<Lowerings> = OnceLock::new();
    ALL.get_or_init(|| {
        let of_domain = |(domain, tables): &(&'static str, &'static [Table])| {
            let domain = *domain;
            tables.iter().flat_map(|table| table.iter()).map(move |(op, f)| ((domain, *op), *f))
        };
        DOMAINS.iter().flat_map(of_domain).collect()
    })
}

/// Lowers one node.
///
/// # Errors
/// `unsupported/onnx-op` for an operator that this plugin does not know.
pub(crate) fn lower(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (domain, op) = (cx.node.domain.as_str(), cx.node.op.as_str());
    match lowerings().get(&(domain, op)) {
        Some(lowering) if cx.opset < 7 && cx.has("axis") && ALIGNED.contains(&op) => {
            let inputs = aligned(cx, inputs)?;
            lowering(cx, Inputs(&inputs))
        }
        Some(lowering) if ranks::apply(domain, op, inputs) => ranks::run(cx, inputs, *lowering),
        Some(lowering) => lowering(cx, inputs),
        None if DOMAINS.iter().any(|(own, _)| *own == domain) => {
            Err(unsupported(format!("no such operator in opset {} of this plugin", cx.opset)))
        }
        None => {
            let own = DOMAINS.iter().map(|(own, _)| if own.is_empty() { "ai.onnx" } else { own });
            let own: Vec<&str> = own.collect();
            Err(unsupported(format!(
                "the model defines no function of this name, and of this domain the plugin has no \
                 operators; it has those of {}",
                own.join(", ")
            )))
        }
    }
}

/// Operators whose second input broadcast at an axis of the first one before opset 7.
const ALIGNED: &[&str] =
    &["Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"];

/// The inputs with the second one shaped so that it broadcasts as in newer opsets.
fn aligned(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Option<Value>>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let mut dims = y.dims.clone();
    dims.resize((x.rank() - axis).max(dims.len()), Extent::Fixed(1));
    Ok(vec![Some(x.clone().into()), Some(cx.reshape(y, &dims)?.into())])
}

/// One output.
pub(crate) fn one(output: crate::value::T) -> R<Vec<Value>> {
    Ok(vec![output.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_other_domains_names_what_there_is_and_nothing_else() {
        let page = include_str!("../../../../docs/reference/onnx-domains.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let mut named: Vec<(&str, &str)> = Vec::new();
        for row in rows {
            let mut words = row.split('`').skip(1).step_by(2);
            let domain = words.next().expect("a domain");
            named.extend(words.map(|op| (domain, op)));
        }
        named.sort_unstable();
        let refused = ["CastMap", "DictVectorizer"];
        let own = lowerings().keys().filter(|(domain, op)| {
            matches!(*domain, "ai.onnx.ml" | "com.microsoft") && !refused.contains(op)
        });
        let mut own: Vec<(&str, &str)> = own.copied().collect();
        own.sort_unstable();
        assert_eq!(named, own);
    }
}
