//! The configuration, and what it comes to.

use aimass_sdk::image::Filter;
use aimass_sdk::media::Color;
use aimass_sdk::{Error, Result};
use serde::Deserialize;

/// Rows and columns that a picture may be resized to.
const EXTENT_MAX: u64 = 8_192;
/// Pictures that a request may have: what one op joins.
const IMAGES_MAX: u64 = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    size: Option<Edges>,
    filter: Option<FilterName>,
    crop: Option<Area>,
    color: Option<Order>,
    scale: Option<f32>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    layout: Option<Layout>,
    encoding: Option<Encoding>,
    images_max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edges {
    height: Option<u64>,
    width: Option<u64>,
    shortest_edge: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    height: u64,
    width: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FilterName {
    Nearest,
    Bilinear,
    Bicubic,
}

/// Channels and their order.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    Rgb,
    Bgr,
    Gray,
}

impl Order {
    /// What the host is asked for.
    pub(crate) fn decoded(self) -> Color {
        match self {
            Order::Rgb | Order::Bgr => Color::Rgb,
            Order::Gray => Color::Gray,
        }
    }

    /// Whether the channels change places.
    pub(crate) fn is_reversed(self) -> bool {
        match self {
            Order::Bgr => true,
            Order::Rgb | Order::Gray => false,
        }
    }
}

/// Order of the axes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

/// How files come.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Raw,
    Base64,
}

impl Encoding {
    /// Of the request parameter.
    pub(crate) fn of_name(name: &str) -> Result<Encoding> {
        match name {
            "raw" => Ok(Encoding::Raw),
            "base64" => Ok(Encoding::Base64),
            other => {
                let message = format!("encoding: expected raw or base64, got {other}");
                Err(Error::input("parameter", message))
            }
        }
    }
}

/// What a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Size {
    /// Height and width.
    Exact(u64, u64),
    /// The shorter of both; the other keeps the proportion.
    ShortestEdge(u64),
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) size: Size,
    pub(crate) filter: Filter,
    /// Height and width.
    pub(crate) crop: Option<(u64, u64)>,
    pub(crate) color: Order,
    pub(crate) scale: f32,
    pub(crate) mean: Vec<f32>,
    pub(crate) deviation: Vec<f32>,
    pub(crate) layout: Layout,
    pub(crate) encoding: Encoding,
    pub(crate) images_max: u64,
}

impl Settings {
    /// # Errors
    /// `input/config`, which says what was expected.
    pub(crate) fn plan(self) -> Result<Plan> {
        let color = self.color.unwrap_or(Order::Rgb);
        let channels = color.decoded().channels() as usize;
        let size = self.size.map_or(Ok(Size::Exact(224, 224)), |edges| edges.size())?;
        let crop = self.crop.map(|area| (area.height, area.width));
        if let Some((height, width)) = crop {
            check_extents(&[height, width])?;
        }
        check_crop(size, crop)?;
        let images_max = self.images_max.unwrap_or(32);
        if !(1..=IMAGES_MAX).contains(&images_max) {
            return Err(wrong(format!("images_max: expected 1 to {IMAGES_MAX}, got {images_max}")));
        }
        let deviation = of_channels("std", self.std, 1.0, channels)?;
        if let Some(wrong_one) = deviation.iter().find(|it| !it.is_normal()) {
            return Err(wrong(format!("std: expected numbers that are not 0, got {wrong_one}")));
        }
        Ok(Plan {
            size,
            filter: match self.filter.unwrap_or(FilterName::Bilinear) {
                FilterName::Nearest => Filter::Nearest,
                FilterName::Bilinear => Filter::Bilinear,
                FilterName::Bicubic => Filter::Bicubic,
            },
            crop,
            color,
            scale: self.scale.unwrap_or(1.0 / 255.0),
            mean: of_channels("mean", self.mean, 0.0, channels)?,
            deviation,
            layout: self.layout.unwrap_or(Layout::Nchw),
            encoding: self.encoding.unwrap_or(Encoding::Raw),
            images_max,
        })
    }
}

impl Edges {
    fn size(&self) -> Result<Size> {
        match (self.height, self.width, self.shortest_edge) {
            (Some(height), Some(width), None) => {
                check_extents(&[height, width]).map(|()| Size::Exact(height, width))
            }
            (None, None, Some(edge)) => check_extents(&[edge]).map(|()| Size::ShortestEdge(edge)),
            _ => Err(wrong("size: expected height and width, or shortest_edge")),
        }
    }
}

impl Plan {
    /// Height, width and channels of what is answered.
    pub(crate) fn extents(&self) -> [u64; 3] {
        let (height, width) = match (self.crop, self.size) {
            (Some(crop), _) => crop,
            (None, Size::Exact(height, width)) => (height, width),
            (None, Size::ShortestEdge(edge)) => (edge, edge),
        };
        [height, width, u64::from(self.color.decoded().channels())]
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::input("config", message)
}

fn check_extents(extents: &[u64]) -> Result<()> {
    match extents.iter().find(|extent| !(1..=EXTENT_MAX).contains(extent)) {
        Some(extent) => Err(wrong(format!("size: expected 1 to {EXTENT_MAX}, got {extent}"))),
        None => Ok(()),
    }
}

/// Every picture has to hold the crop, whatever its proportion.
fn check_crop(size: Size, crop: Option<(u64, u64)>) -> Result<()> {
    let Some((height, width)) = crop else {
        return match size {
            Size::Exact(..) => Ok(()),
            Size::ShortestEdge(_) => Err(wrong(
                "size: shortest_edge needs a crop, since pictures of one request have one shape",
            )),
        };
    };
    let (rows, columns) = match size {
        Size::Exact(rows, columns) => (rows, columns),
        Size::ShortestEdge(edge) => (edge, edge),
    };
    if height <= rows && width <= columns {
        return Ok(());
    }
    let message = format!(
        "crop: expected at most {rows} x {columns}, which is resized to, got {height} x {width}"
    );
    Err(wrong(message))
}

fn of_channels(
    name: &str,
    given: Option<Vec<f32>>,
    default: f32,
    channels: usize,
) -> Result<Vec<f32>> {
    let numbers = given.unwrap_or_else(|| vec![default; channels]);
    if numbers.len() == channels {
        return Ok(numbers);
    }
    Err(wrong(format!("{name}: expected {channels} numbers, got {}", numbers.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(change: impl FnOnce(&mut Settings)) -> Result<Plan> {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.plan()
    }

    fn edges(height: Option<u64>, width: Option<u64>, shortest_edge: Option<u64>) -> Option<Edges> {
        Some(Edges { height, width, shortest_edge })
    }

    fn message(change: impl FnOnce(&mut Settings)) -> String {
        plan(change).unwrap_err().message
    }

    #[test]
    fn without_settings_pictures_are_224_x_224_and_0_to_1() {
        let plan = plan(|_| ()).unwrap();
        assert_eq!(plan.extents(), [224, 224, 3]);
        assert_eq!((plan.scale, &plan.mean[..]), (1.0 / 255.0, &[0.0; 3][..]));
        assert_eq!((plan.encoding, plan.images_max), (Encoding::Raw, 32));
    }

    #[test]
    fn a_crop_has_to_fit_every_picture() {
        let crop = |height, width| Some(Area { height, width });
        let fits = plan(|it| {
            (it.size, it.crop) = (edges(None, None, Some(256)), crop(256, 224));
        });
        assert_eq!(fits.unwrap().extents(), [256, 224, 3]);
        let large = message(|it| {
            (it.size, it.crop) = (edges(None, None, Some(256)), crop(257, 224));
        });
        assert!(large.contains("at most 256 x 256"), "{large}");
        let none = message(|it| it.size = edges(None, None, Some(256)));
        assert!(none.contains("needs a crop"), "{none}");
    }

    #[test]
    fn what_cannot_be_meant_says_what_was_expected() {
        let both = message(|it| it.size = edges(Some(8), None, Some(9)));
        assert!(both.contains("height and width, or shortest_edge"), "{both}");
        let zero = message(|it| it.size = edges(Some(0), Some(9), None));
        assert!(zero.contains("expected 1 to 8192, got 0"), "{zero}");
        let mean = message(|it| it.mean = Some(vec![0.5]));
        assert_eq!(mean, "mean: expected 3 numbers, got 1");
        let gray = plan(|it| (it.mean, it.color) = (Some(vec![0.5]), Some(Order::Gray)));
        assert_eq!(gray.unwrap().extents(), [224, 224, 1]);
        let deviation = message(|it| it.std = Some(vec![1.0, 0.0, 1.0]));
        assert!(deviation.contains("not 0, got 0"), "{deviation}");
        let many = message(|it| it.images_max = Some(65));
        assert!(many.contains("1 to 64, got 65"), "{many}");
        assert!(Encoding::of_name("hex").is_err());
    }
}
