//! Frame of a JPEG: its components, and which bits of their coefficients the scans gave.

use super::Damage;
use super::scan::Scan;

/// Header of a frame.
pub(super) struct Frame {
    pub(super) progressive: bool,
    /// Width and height in pixels.
    pub(super) size: [usize; 2],
    pub(super) components: Vec<Component>,
}

/// Component of a frame, such as the luma.
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors: blocks in a minimum coded unit, across and down.
    pub(super) sampling: [usize; 2],
    /// Blocks that hold pixels, across and down.
    blocks: [usize; 2],
    /// Blocks in a row, with those that complete the last minimum coded unit.
    pub(super) stride: usize,
    /// For each block of a progressive JPEG: bit `k` says that coefficient `k` is not zero.
    pub(super) nonzero: Vec<u64>,
    /// For each coefficient: the lowest bit that a scan gave; none before its first scan.
    lowest: [Option<u8>; 64],
}

impl Frame {
    /// Lays out the blocks of `components`, given as identifier and sampling factors.
    pub(super) fn new(progressive: bool, size: [usize; 2], components: &[(u8, [usize; 2])]) -> Self {
        let most = |axis: usize| components.iter().map(|(_, sampling)| sampling[axis]).max().unwrap_or(1);
        let most = [most(0), most(1)];
        let units = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
        let component = |&(id, sampling): &(u8, [usize; 2])| {
            let blocks = [0, 1].map(|axis| (size[axis] * sampling[axis]).div_ceil(most[axis]).div_ceil(8));
            let [stride, rows] = [0, 1].map(|axis| units[axis] * sampling[axis]);
            let nonzero = if progressive { vec![0; stride * rows] } else { Vec::new() };
            Component { id, sampling, blocks, stride, nonzero, lowest: [None; 64] }
        };
        Self { progressive, size, components: components.iter().map(component).collect() }
    }

    /// Largest sampling factors, across and down.
    pub(super) fn most_sampling(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.components.iter().map(|one| one.sampling[axis]).max().unwrap_or(1))
    }

    /// Minimum coded units of a scan, across and down.
    pub(super) fn units(&self, scan: &Scan) -> [usize; 2] {
        match scan.components[..] {
            [(index, ..)] => self.components[index].blocks,
            _ => {
                let most = self.most_sampling();
                [0, 1].map(|axis| self.size[axis].div_ceil(8 * most[axis]))
            }
        }
    }

    /// Notes what `scan` gives.
    ///
    /// # Errors
    /// [`Damage::Scans`] if a scan that it continues is missing.
    pub(super) fn give(&mut self, scan: &Scan) -> Result<(), Damage> {
        for &(index, ..) in &scan.components {
            for lowest in &mut self.components[index].lowest[scan.band.0..=scan.band.1] {
                let continues = if scan.high == 0 { None } else { Some(scan.high) };
                if self.progressive && *lowest != continues {
                    return Err(Damage::Scans);
                }
                *lowest = Some(scan.low);
            }
        }
        Ok(())
    }

    /// Tells whether the scans gave every bit of every coefficient.
    pub(super) fn is_complete(&self) -> bool {
        self.components.iter().all(|component| component.lowest.iter().all(|&lowest| lowest == Some(0)))
    }
}
