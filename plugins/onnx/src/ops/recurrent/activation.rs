//! Functions that a recurrent layer names.

use crate::content::scalar;
use crate::node::Cx;
use crate::value::{R, T, unsupported};

/// A function with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Activation {
    Affine(f32, f32),
    Elu(f32),
    HardSigmoid(f32, f32),
    LeakyRelu(f32),
    Relu,
    ScaledTanh(f32, f32),
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
    ThresholdedRelu(f32),
}

/// Reads names; each function takes the next numbers if it has any.
pub(super) fn parse(names: &[String], alphas: &[f32], betas: &[f32]) -> R<Vec<Activation>> {
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    let mut list = Vec::with_capacity(names.len());
    for name in names {
        let mut alpha = |default: f32| alphas.next().unwrap_or(default);
        let mut beta = |default: f32| betas.next().unwrap_or(default);
        list.push(match name.to_ascii_lowercase().as_str() {
            "affine" => Activation::Affine(alpha(1.0), beta(0.0)),
            "elu" => Activation::Elu(alpha(1.0)),
            "hardsigmoid" => Activation::HardSigmoid(alpha(0.2), beta(0.5)),
            "leakyrelu" => Activation::LeakyRelu(alpha(0.01)),
            "relu" => Activation::Relu,
            "scaledtanh" => Activation::ScaledTanh(alpha(1.0), beta(1.0)),
            "sigmoid" => Activation::Sigmoid,
            "softplus" => Activation::Softplus,
            "softsign" => Activation::Softsign,
            "tanh" => Activation::Tanh,
            "thresholdedrelu" => Activation::ThresholdedRelu(alpha(1.0)),
            _ => return Err(unsupported(format!("activation `{name}`"))),
        });
    }
    Ok(list)
}

impl Activation {
    pub(super) fn apply(self, cx: &mut Cx<'_>, x: &T) -> R<T> {
        match self {
            Activation::Affine(alpha, beta) => {
                let scaled = cx.mul_number(x, alpha.into())?;
                cx.add_number(&scaled, beta.into())
            }
            Activation::Elu(alpha) => cx.elu(x, alpha),
            Activation::HardSigmoid(alpha, beta) => cx.hard_sigmoid(x, alpha, beta),
            Activation::LeakyRelu(alpha) => cx.leaky_relu(x, alpha),
            Activation::Relu => cx.relu(x),
            Activation::ScaledTanh(alpha, beta) => {
                let scaled = cx.mul_number(x, beta.into())?;
                let bent = cx.tanh(&scaled)?;
                cx.mul_number(&bent, alpha.into())
            }
            Activation::Sigmoid => cx.sigmoid(x),
            Activation::Softplus => cx.softplus(x),
            Activation::Softsign => {
                let magnitude = cx.abs(x)?;
                let below = cx.add_number(&magnitude, 1.0)?;
                cx.div(x, &below)
            }
            Activation::Tanh => cx.tanh(x),
            Activation::ThresholdedRelu(alpha) => {
                let (alpha, zero) = (scalar(x.dtype, alpha.into())?, scalar(x.dtype, 0.0)?);
                let above = cx.greater_equal(x, &alpha)?;
                cx.select(&above, x, &zero)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_take_numbers_in_their_order() {
        let names = ["Sigmoid", "LeakyRelu", "hardsigmoid", "Elu"].map(str::to_owned);
        let parsed = parse(&names, &[0.3, 0.4], &[0.6]).unwrap();
        let expected = [
            Activation::Sigmoid,
            Activation::LeakyRelu(0.3),
            Activation::HardSigmoid(0.4, 0.6),
            Activation::Elu(1.0),
        ];
        assert_eq!(parsed, expected);
        assert!(parse(&["Cube".to_owned()], &[], &[]).is_err());
    }
}
