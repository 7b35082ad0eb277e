//! Turns picture files into the input of a vision model.
//!
//! | tensor   | shape                       | dtype |                                       |
//! |----------|-----------------------------|-------|---------------------------------------|
//! | `image`  | `[batch]`                   | bytes | JPEG, PNG or WebP files               |
//! | `pixels` | `[batch, c, height, width]` | f32   | or `[batch, height, width, c]`        |
//!
//! Each picture is decoded upright, resized, cropped in the middle and normalized as
//! `(byte * scale - mean) / std`. Host kernels do all of it on handles: of a picture only the file
//! enters the plugin. A broken file fails its request, and the error says which one it is.

mod settings;

use aimass_sdk::base64;
use aimass_sdk::image::{Picture, batch};
use aimass_sdk::prelude::*;
use settings::{Encoding, Layout, Plan, Settings, Size};

/// The plugin.
#[derive(Debug)]
pub struct ImagePreprocess {
    plan: Plan,
}

impl Processor for ImagePreprocess {
    fn init(config: Config) -> Result<Self> {
        let plan = config.parse::<Settings>()?.plan()?;
        Ok(ImagePreprocess { plan })
    }

    fn describe(&self) -> Signature {
        let [height, width, channels] = self.plan.extents().map(Dim::Fixed);
        let dims = match self.plan.layout {
            Layout::Nchw => [Dim::Batch, channels, height, width],
            Layout::Nhwc => [Dim::Batch, height, width, channels],
        };
        Signature::new()
            .input(TensorSpec::new("image", DType::Bytes, [Dim::Batch]))
            .output(TensorSpec::new("pixels", DType::F32, dims))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let encoding = match parameters.text("encoding")? {
            Some(name) => Encoding::of_name(name)?,
            None => self.plan.encoding,
        };
        let files = inputs.get("image")?.as_strings()?;
        let max = self.plan.images_max;
        if files.len() as u64 > max {
            let message = format!("image: expected at most {max} pictures, got {}", files.len());
            return Err(Error::limit("images", message));
        }
        if files.is_empty() {
            let [height, width, channels] = self.plan.extents();
            let shape = match self.plan.layout {
                Layout::Nchw => [0, channels, height, width],
                Layout::Nhwc => [0, height, width, channels],
            };
            return Ok(Outputs::new().with("pixels", Tensor::from_f32(&shape, &[])?));
        }
        let pictures = files.iter().enumerate().map(|(index, file)| {
            self.picture(file, encoding).map_err(|error| Error {
                message: format!("image[{index}]: {}", error.message),
                ..error
            })
        });
        let pictures = pictures.collect::<Result<Vec<_>>>()?;
        Ok(Outputs::new().with("pixels", batch(&pictures)?))
    }
}

aimass_sdk::export_processor!(ImagePreprocess);

impl ImagePreprocess {
    fn picture(&self, file: &[u8], encoding: Encoding) -> Result<Tensor> {
        let decoded;
        let file = match encoding {
            Encoding::Raw => file,
            Encoding::Base64 => {
                decoded = base64::decode(file)?;
                &decoded
            }
        };
        let plan = &self.plan;
        let picture = Picture::decode(file, plan.color.decoded())?;
        let picture = match plan.size {
            Size::Exact(height, width) => picture.resize(height, width, plan.filter)?,
            Size::ShortestEdge(edge) => picture.resize_short_edge(edge, plan.filter)?,
        };
        let picture = match plan.crop {
            Some((height, width)) => picture.center_crop(height, width)?,
            None => picture,
        };
        let picture = if plan.color.is_reversed() { picture.reverse_channels()? } else { picture };
        let picture = picture.normalize(plan.scale, &plan.mean, &plan.deviation)?;
        match plan.layout {
            Layout::Nchw => picture.into_planes(),
            Layout::Nhwc => picture.into_pixels(),
        }
    }
}
