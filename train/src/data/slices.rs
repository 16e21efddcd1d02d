//! Part of each step's images that a rank trains on.

use std::ops::Range;

use crate::distributed::World;

/// Slice of a rank among the `images` of a step: consecutive ones, as evenly as possible.
///
/// Every slice has at least two images, because batch norm cannot learn from one; if there are too few for that, the last
/// ranks have none.
pub(super) fn of(images: usize, world: World) -> Range<usize> {
    let parts = (images / 2).clamp(1, world.size);
    let edge = |rank: usize| images * rank.min(parts) / parts;
    edge(world.rank)..edge(world.rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(images: usize, size: usize) -> Vec<usize> {
        let slices = (0..size).map(|rank| of(images, World { rank, size, local_rank: rank }));
        let mut next = 0;
        let size = |slice: Range<usize>| {
            assert_eq!(slice.start, next, "no image is left out or taken twice");
            next = slice.end;
            slice.len()
        };
        let sizes: Vec<usize> = slices.map(size).collect();
        assert_eq!(next, images);
        sizes
    }

    #[test]
    fn slices_are_even_and_have_two_images_or_none() {
        assert_eq!(sizes(64, 2), [32, 32]);
        assert_eq!(sizes(37, 4), [9, 9, 9, 10]);
        assert_eq!(sizes(5, 4), [2, 3, 0, 0]);
        assert_eq!(sizes(3, 2), [3, 0]);
        assert_eq!(sizes(2, 3), [2, 0, 0]);
        for size in 1..9 {
            for images in 2..200 {
                let sizes = sizes(images, size);
                assert!(!sizes.contains(&1), "{images} images, {size} ranks");
                let with_images: Vec<usize> = sizes.into_iter().filter(|&size| size > 0).collect();
                let (least, most) = (with_images.iter().min().unwrap(), with_images.iter().max().unwrap());
                assert!(most - least <= 1, "{images} images, {size} ranks");
            }
        }
    }
}
