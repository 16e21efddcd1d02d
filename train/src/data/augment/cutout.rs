//! Cutout: a square of each image is erased (DeVries and Taylor 2017, arXiv:1708.04552).

use tch::{Kind, TchError, Tensor};

use super::draw::ImageDraw;
use crate::data::parcel::Parcel;

/// Packs the edges of each image's square, `[N, 4]`; false if no image has one.
pub(super) fn pack(draws: &[ImageDraw], parcel: &mut Parcel) -> bool {
    let any = draws.iter().any(|draw| draw.cutout.is_some());
    if any {
        // An empty square erases nothing.
        let edges = draws.iter().flat_map(|draw| draw.cutout.unwrap_or([0; 4]));
        parcel.integers(&[draws.len() as i64, 4], edges);
    }
    any
}

/// Sets a square of each of `images`, normalised floats `[N, C, H, W]`, to zero, the mean colour; `edges` `[N, 4]` has its
/// left, top, right and bottom.
///
/// A square that reaches beyond its image is clipped, as in the paper. The images are changed in place.
pub(super) fn erase(images: &Tensor, edges: &Tensor) -> Result<(), TchError> {
    let (_, _, height, width) = images.size4()?;
    let device = images.device();
    let edges = edges.f_view([-1, 4, 1, 1, 1])?.f_unbind(1)?;
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
        let draws = [draw(Some([1, 0, 3, 2])), draw(None), draw(Some([4, 3, 6, 5]))];
        let mut parcel = Parcel::default();
        assert!(pack(&draws, &mut parcel) && !pack(&draws[1..2], &mut Parcel::default()));
        erase(&images, &parcel.unpack(&parcel.packed().unwrap()).unwrap()[0]).unwrap();
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
