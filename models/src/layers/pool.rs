//! Pooling over windows.

/// Max pooling over square windows, as `torch.nn.MaxPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Padding on every side, which never is the maximum.
    pub padding: usize,
}
