//! LayerCAM: places of an image that speak for a class, at any layer of a network, by gradients (Jiang et al. 2021, IEEE
//! Transactions on Image Processing 30, doi:10.1109/TIP.2021.3089943).
//!
//! At a layer with feature maps `A`, the map of class `c` is `relu(sum_k relu(d logit_c / d A_k) * A_k)`.

use std::rc::Rc;

use ferronnx_models::Module;
use ferronnx_models::lockstep::LockstepError;
use ferronnx_models::onnx::{self, Interface, TraceError};
use ndarray::{Array2, Ix2};
use tch::Tensor;

use crate::eager::{Eager, EagerError};
use crate::error::TorchError;
use crate::params::{Params, to_array};

/// LayerCAM of a class, with the logits of the image.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerCam {
    /// Value of the graph that the map is of: the last feature maps of the layer.
    pub value: String,
    /// Index of the class.
    pub class: usize,
    /// Map, `[h, w]`; no value is negative.
    pub map: Array2<f32>,
    /// Logits of the image, `[classes]`.
    pub logits: Vec<f32>,
}

/// Reason why there is no LayerCAM.
#[derive(Debug, thiserror::Error)]
pub enum LayerCamError {
    /// The network has no feature maps there.
    #[error("the network has no feature maps in {layer}: it has them in {}", layers.join(", "))]
    Layer {
        /// Layer asked for.
        layer: String,
        /// Parts of the network with feature maps.
        layers: Vec<String>,
    },
    /// The network has no such class.
    #[error("the network has no class {class}, it has {classes}")]
    Class {
        /// Index asked for.
        class: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The graph of the network cannot be made.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The network cannot be computed.
    #[error(transparent)]
    Eager(#[from] EagerError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

/// Computes the LayerCAM of `class`, or of the most likely class, for one image `[1, C, H, W]` at the
/// last feature maps of `parts` of the network, such as `backbone.layer4`.
///
/// # Errors
/// [`LayerCamError`]: there is no such layer or class, or libtorch fails.
pub fn layer_cam(
    network: &impl Module,
    params: &Params,
    interface: &Interface,
    image: &Tensor,
    parts: &[String],
    class: Option<usize>,
) -> Result<LayerCam, LayerCamError> {
    // The image requires a gradient, so that there is a graph of gradients where all parameters are frozen.
    let image = image.shallow_clone().set_requires_grad(true);
    let values = onnx::values(network, interface, &Eager::eval(params), image);
    let values = values.map_err(|error| match error {
        LockstepError::Names(error) => LayerCamError::Trace(error),
        LockstepError::Values(error) => LayerCamError::Eager(error),
    })?;
    let (value, maps) = maps_of(&values, parts)?;
    let logits = &values[&interface.output];
    let scores: Vec<f32> = to_array(logits)?.into_iter().collect();
    let likeliest = || (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
    let class = class.unwrap_or_else(likeliest);
    if class >= scores.len() {
        return Err(LayerCamError::Class { class, classes: scores.len() });
    }
    let map = map(&logits.get(0).get(class as i64), maps).map_err(TorchError::from)?;
    let map = to_array(&map)?.into_dimensionality::<Ix2>().expect("a sum over channels is a matrix");
    Ok(LayerCam { value: value.to_owned(), class, map, logits: scores })
}

/// `relu(sum_k relu(d logit / d A_k) * A_k)` of the maps `A`, `[1, C, h, w]`.
fn map(logit: &Tensor, maps: &Tensor) -> Result<Tensor, tch::TchError> {
    let gradients = Tensor::f_run_backward(&[logit], &[maps], false, false)?;
    let weighted = gradients[0].f_relu()?.f_mul(maps)?;
    weighted.f_sum_dim_intlist(1, false, None)?.f_squeeze_dim(0)?.f_relu()?.f_detach()
}

/// Last feature maps `[1, C, h, w]` of parts of the network, with their name in the graph.
fn maps_of<'v>(
    values: &'v onnx::Values<Tensor>,
    parts: &[String],
) -> Result<(&'v str, &'v Rc<Tensor>), LayerCamError> {
    let prefixes: Vec<_> = parts.iter().map(|part| format!("/{}/", part.replace('.', "/"))).collect();
    let all = || values.iter().filter(|(_, value)| value.dim() == 4 && value.size()[2..] != [1, 1]);
    if let Some((name, value)) =
        all().rfind(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    {
        return Ok((name, value));
    }
    let part = |name: &String| name.split('/').skip(1).take(2).collect::<Vec<_>>().join(".");
    let mut layers: Vec<String> = all()
        .map(|(name, _)| part(name))
        .filter(|name| name.contains('.') && !name.contains("_output_"))
        .collect();
    layers.dedup();
    Err(LayerCamError::Layer { layer: parts.join(", "), layers })
}

#[cfg(test)]
mod tests {
    use ferronnx_models::layers::{Conv2d, Linear};
    use ferronnx_models::{Ops, Reduce, shapes, testing};
    use tch::Device;

    use super::*;
    use crate::params::to_tensor;

    struct Network;

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops
                .scope("net.first", || ops.relu(&ops.conv2d(x, &Conv2d::new("net.first.conv", 3, 4, 3))?))?;
            let x =
                ops.scope("net.last", || ops.relu(&ops.conv2d(&x, &Conv2d::new("net.last.conv", 4, 5, 3))?))?;
            ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &Linear::new("net.fc", 5, 3))
        }
    }

    #[test]
    fn before_the_pool_gradients_are_the_weights() {
        let shape = [1, 3, 8, 8];
        let weights = testing::weights(&Network, &shape).unwrap();
        let params = &shapes::describe(&Network, &shape).unwrap().params;
        let params = Params::initialise(params, 0, Device::Cpu).unwrap();
        params.assign_all(&weights).unwrap();
        let interface = Interface::new(&shape[1..]).output("logits");
        let image = to_tensor(&testing::input(&shape)).unwrap();
        let cam =
            |part: &str, class| layer_cam(&Network, &params, &interface, &image, &[part.to_owned()], class);

        let eager = Eager::eval(&params);
        let values = onnx::values(&Network, &interface, &eager, image.shallow_clone()).unwrap();
        let maps = to_array(&values["/net/last/Relu_output_0"]).unwrap();
        for class in 0..3 {
            let found = cam("net.last", Some(class)).unwrap();
            assert_eq!((found.value.as_str(), found.map.dim()), ("/net/last/Relu_output_0", (4, 4)));
            for ((y, x), value) in found.map.indexed_iter() {
                let weight = |k: usize| weights["net.fc.weight"][[class, k]].max(0.0) / 16.0;
                let expected: f32 = (0..5).map(|k| weight(k) * maps[[0, k, y, x]]).sum();
                assert!((value - expected).abs() < 1e-6, "{value} {expected}");
            }
        }
        let first = cam("net.first", None).unwrap();
        assert_eq!(first.map.dim(), (6, 6));
        assert!(first.map.iter().all(|&value| value >= 0.0) && first.map.iter().any(|&value| value > 0.0));
        assert!(first.logits.iter().all(|&logit| logit <= first.logits[first.class]));
        let error = cam("nowhere", None).unwrap_err().to_string();
        assert_eq!(error, "the network has no feature maps in nowhere: it has them in net.first, net.last");
        assert!(matches!(cam("net.last", Some(3)), Err(LayerCamError::Class { class: 3, classes: 3 })));
    }
}
