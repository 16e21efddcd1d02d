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

/// Average pooling over square windows, as `torch.nn.AvgPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Zero padding on every side; its zeros count in the means.
    pub padding: usize,
}
