//! Axes of a value: batch, classes, or others, followed from the output backwards.

use super::shapes::{Shape, Shapes};
use crate::onnx::node::Node;
use crate::onnx::types::Dim;

/// Role of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// One entry for each image.
    Batch,
    /// One entry for each class; the number of classes where it is fixed.
    Classes(Option<usize>),
    /// A single entry.
    One,
    /// Several entries that belong together, such as positions in an image.
    Other,
}

/// Role of each axis of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(Vec<Axis>);

impl Layout {
    /// Roles in a batch of this shape: the classes are the only axis that is neither the first nor of size 1.
    ///
    /// Among several such axes, the only one of a fixed size is taken. None where that does not decide.
    pub fn of(shape: &[Dim]) -> Option<Self> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbol(_) => None,
        };
        let (first, rest) = match shape {
            [] => return None,
            // One value for each image, or one for each class of a single image.
            [all] => return size(all).map(|size| Self(vec![Axis::Classes(Some(size))])),
            [first, rest @ ..] => (first, rest),
        };
        let many: Vec<usize> = (0..rest.len()).filter(|&at| rest[at] != Dim::Fixed(1)).collect();
        let fixed: Vec<usize> = many.iter().copied().filter(|&at| size(&rest[at]).is_some()).collect();
        let classes = match (&many[..], &fixed[..]) {
            ([], _) => 0,
            ([at], _) | (_, [at]) => *at,
            _ => return None,
        };
        let role = |at: usize| match &rest[at] {
            dim if at == classes => Axis::Classes(size(dim)),
            Dim::Fixed(1) => Axis::One,
            _ => Axis::Other,
        };
        let batch = if *first == Dim::Fixed(1) { Axis::One } else { Axis::Batch };
        Some(Self(std::iter::once(batch).chain((0..rest.len()).map(role)).collect()))
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// True if `axes` are those of the classes, and others of size 1. More than one class is needed.
    pub fn are_classes(&self, axes: &[usize]) -> bool {
        let runs = |axis: &usize| matches!(self.0.get(*axis), Some(Axis::Classes(_) | Axis::One));
        let classes = |axis: &usize| matches!(self.0[*axis], Axis::Classes(size) if size != Some(1));
        axes.iter().all(runs) && axes.iter().any(classes)
    }

    /// Axis of the classes.
    pub fn classes(&self) -> Option<usize> {
        self.0.iter().position(|axis| matches!(axis, Axis::Classes(_)))
    }

    fn size(&self) -> Option<usize> {
        self.0.iter().find_map(|axis| if let Axis::Classes(size) = axis { *size } else { None })
    }

    /// Roles before a transposition by `perm`; absent, it reverses the axes.
    pub fn before_transpose(&self, perm: Option<&[i64]>) -> Option<Self> {
        let rank = self.rank();
        let perm: Vec<usize> = match perm {
            Some(perm) => perm.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut before = vec![None; rank];
        for (&axis, &to) in self.0.iter().zip(&perm) {
            *before.get_mut(to)? = Some(axis);
        }
        Some(Self(before.into_iter().collect::<Option<_>>()?)).filter(|_| perm.len() == rank)
    }

    /// Roles before the axes `axes` of the operand were removed; each of them had the role `role`.
    pub fn before_removal(&self, axes: &[i64], role: Axis) -> Option<Self> {
        let axes = resolve(axes, self.rank() + axes.len())?;
        let mut before = self.0.clone();
        axes.into_iter().try_for_each(|axis| (axis <= before.len()).then(|| before.insert(axis, role)))?;
        Some(Self(before))
    }

    /// Roles before axes of size 1 were inserted at `axes`; none where that of the classes is among them.
    pub fn before_unsqueeze(&self, axes: &[i64]) -> Option<Self> {
        let axes = resolve(axes, self.rank())?;
        let kept = (0..self.rank()).filter(|axis| !axes.contains(axis)).map(|axis| self.0[axis]).collect();
        Some(Self(kept)).filter(|before| before.classes().is_some())
    }

    /// Roles before the values at `axes` were averaged into one; none where that of the classes is among them.
    pub fn before_average(&self, axes: &[i64], kept: bool) -> Option<Self> {
        if !kept {
            return self.before_removal(axes, Axis::Other);
        }
        let axes = resolve(axes, self.rank())?;
        let role = |(at, &axis)| if axes.contains(&at) { Axis::Other } else { axis };
        Some(Self(self.0.iter().enumerate().map(role).collect())).filter(|before| before.classes().is_some())
    }

    /// Roles in `operand` before it was reshaped: both have the same number of classes, or `batch_kept` says that the first
    /// axis stays as it is.
    pub fn before_reshape(&self, operand: Option<&[Dim]>, batch_kept: bool) -> Option<Self> {
        let usual = self.classes() != Some(0) || self.rank() == 1;
        let before = Self::of(operand?).filter(|_| usual)?;
        let same = self.size().is_some() && self.size() == before.size();
        (same || batch_kept && before.rank() > 1).then_some(before)
    }

    /// Roles before the value was expanded, where its classes were as many.
    pub fn before_expand(&self, operand: Option<&[Dim]>) -> Option<Self> {
        let (operand, classes) = (operand?, self.classes()?);
        let same =
            operand.len() == self.rank() && self.size().map(Dim::Fixed).as_ref() == operand.get(classes);
        same.then(|| self.clone())
    }
}

/// Axes of a value of this rank from 0 on, in order.
pub fn resolve(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let from_zero = |&axis: &i64| {
        let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    };
    let mut axes: Vec<usize> = axes.iter().map(from_zero).collect::<Option<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Some(axes)
}

/// Axes that a `Squeeze` without axes removes from a value of this shape.
pub fn ones(shape: &Shape) -> Option<Vec<i64>> {
    let known = shape.iter().skip(1).all(|dim| matches!(dim, Dim::Fixed(_)));
    let ones = shape.iter().enumerate().filter(|(_, dim)| **dim == Dim::Fixed(1));
    known.then(|| ones.map(|(axis, _)| axis as i64).collect())
}

/// Roles in the operand of a node that only moves values; `layout` is that of its result.
pub fn before<'g>(shapes: &Shapes<'g>, node: &'g Node, layout: Option<Layout>) -> Option<Layout> {
    let (layout, operand) = (layout?, node.input(0)?);
    let shape = shapes.of(operand);
    let axes = || shapes.axes(node);
    match node.standard() {
        "Transpose" => match node.ints("perm", &[])? {
            [] => layout.before_transpose(None),
            perm => layout.before_transpose(Some(perm)),
        },
        "Squeeze" => layout.before_removal(&axes().or_else(|| ones(shape.as_ref()?))?, Axis::One),
        "Unsqueeze" => layout.before_unsqueeze(&axes()?),
        "Flatten" => layout.before_reshape(shape.as_deref(), node.int("axis", 1) == Some(1)),
        "Reshape" => {
            let sizes = node.input(1).and_then(|sizes| shapes.index().longs(sizes));
            let copied =
                node.int("allowzero", 0) == Some(0) && sizes.is_some_and(|sizes| sizes.first() == Some(&0));
            layout.before_reshape(shape.as_deref(), copied)
        }
        "Expand" => layout.before_expand(shape.as_deref()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sizes: &[usize]) -> Option<Layout> {
        let dims: Vec<_> = sizes
            .iter()
            .map(|&size| if size == 0 { Dim::Symbol(String::new()) } else { Dim::Fixed(size) })
            .collect();
        Layout::of(&dims)
    }

    #[test]
    fn classes_are_the_axis_that_is_neither_first_nor_of_size_1() {
        for (sizes, classes) in [
            (&[0, 10][..], Some(1)),
            (&[0, 10, 1, 1], Some(1)),
            (&[0, 1, 1, 10], Some(3)),
            (&[1, 10], Some(1)),
            (&[0, 1], Some(1)),
            (&[10], Some(0)),
            (&[0, 0], Some(1)),
            (&[0, 10, 0, 0], Some(1)),
            (&[0, 0, 0], None),
            (&[0, 10, 5], None),
            (&[0], None),
            (&[], None),
        ] {
            assert_eq!(layout(sizes).and_then(|layout| layout.classes()), classes, "{sizes:?}");
        }
    }

    #[test]
    fn only_the_classes_count() {
        let layout = layout(&[0, 1, 10]).unwrap();
        assert!(layout.are_classes(&[2]) && layout.are_classes(&[1, 2]));
        assert!(!layout.are_classes(&[1]) && !layout.are_classes(&[0, 2]) && !layout.are_classes(&[7]));
    }

    #[test]
    fn axes_move_backwards() {
        let moved = layout(&[0, 10, 1, 1]).unwrap().before_transpose(Some(&[0, 3, 1, 2])).unwrap();
        assert_eq!(moved.classes(), Some(3));
        assert_eq!(layout(&[0, 10]).unwrap().before_transpose(None).unwrap().classes(), Some(0));
        assert_eq!(layout(&[0, 10]).unwrap().before_transpose(Some(&[0, 0])), None);
        assert_eq!(layout(&[0, 10]).unwrap().before_removal(&[1, -1], Axis::One).unwrap().classes(), Some(2));
        assert_eq!(layout(&[0, 1, 10]).unwrap().before_unsqueeze(&[1]).unwrap().classes(), Some(1));
        assert_eq!(layout(&[0, 10]).unwrap().before_unsqueeze(&[1]), None);
    }

    #[test]
    fn a_reshape_that_mixes_classes_is_not_followed() {
        let (ten, thirty) = (layout(&[0, 10]).unwrap(), layout(&[0, 30]).unwrap());
        let dims = [Dim::Symbol("n".into()), Dim::Fixed(10)];
        assert!(ten.before_reshape(Some(&dims), false).is_some());
        assert_eq!(thirty.before_reshape(Some(&dims), false), None);
    }
}
