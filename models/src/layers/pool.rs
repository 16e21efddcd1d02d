//! Pooling over windows.

/// Maximum over square windows, as `torch.nn.MaxPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Border on every side that never wins.
    pub padding: usize,
}
