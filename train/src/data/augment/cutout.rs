//! Cutout: a square of each image is erased (DeVries and Taylor 2017, arXiv:1708.04552).

use tch::{Kind, TchError, Tensor};

use super::draw::ImageDraw;
use crate::native;

/// Sets the drawn square of each of `images`, normalised floats `[N, C, H, W]`, to zero, the mean colour.
///
/// A square that reaches beyond its image is clipped, as in the paper. The images are changed in place.
pub fn erase(images: &Tensor, draws: &[ImageDraw]) -> Result<(), TchError> {
    if draws.iter().all(|draw| draw.cutout.is_none()) {
        return Ok(());
    }
    let (count, _, height, width) = images.size4()?;
    let device = images.device();
    // An empty square erases nothing.
    let edges: Vec<i64> = draws.iter().flat_map(|draw| draw.cutout.unwrap_or([0; 4])).collect();
    let edges = native::upload(&Tensor::f_from_slice(&edges)?.f_view([count, 4, 1, 1, 1])?, device)?;
    let edges = edges.f_unbind(1)?;
    let [left, top, right, bottom] = &edges[..] else { unreachable!("four edges") };
    let within = |place: &Tensor, from: &Tensor, to: &Tensor| {
        place.f_ge_tensor(from)?.f_logical_and(&place.f_lt_tensor(to)?)
    };
    let x = Tensor::f_arange(width, (Kind::Int64, device))?;
    let y = Tensor::f_arange(height, (Kind::Int64, device))?.f_view([height, 1])?;
    let inside = within(&x, left, right)?.f_logical_and(&within(&y, top, bottom)?)?;
    let _ = images.shallow_clone().f_masked_fill_(&inside, 0.0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn squares_are_erased_and_clipped() {
        let images = Tensor::ones([3, 3, 4, 5], (Kind::Float, Device::Cpu));
        let draw = |cutout| ImageDraw { cutout, ..ImageDraw::default() };
        erase(&images, &[draw(Some([1, 0, 3, 2])), draw(None), draw(Some([4, 3, 6, 5]))]).unwrap();
        let zeros = |image: i64| {
            let zero = images.get(image).eq(0.0);
            (
                zero.sum(Kind::Int64).int64_value(&[]),
                Vec::<i64>::try_from(zero.get(2).nonzero().flatten(0, 1)).unwrap(),
            )
        };
        assert_eq!(zeros(0), (3 * 4, vec![0, 1, 0, 2, 1, 1, 1, 2]));
        assert_eq!(zeros(1), (0, vec![]));
        assert_eq!(zeros(2), (3, vec![3, 4]));
    }
}
