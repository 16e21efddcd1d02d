//! Walk through the entropy-coded data of a JPEG's scans, to find damage that decoders pass over (ITU-T T.81, annexes F
//! and G).
//!
//! Decoders fill what they cannot read with gray. This walk reads every code, and keeps nothing but which coefficients of
//! a progressive JPEG are not zero, because the length of later scans depends on it.

use super::Damage;
use super::frame::Frame;
use super::huffman::{Bits, Codes};

/// Header of a scan.
pub(super) struct Scan {
    /// Components by their index in the frame, with the numbers of their tables for DC and AC coefficients.
    pub(super) components: Vec<(usize, usize, usize)>,
    /// First and last coefficient, in zigzag order.
    pub(super) band: (usize, usize),
    /// Lowest bit that earlier scans gave, 0 if there is none.
    pub(super) high: u8,
    /// Lowest bit that this scan gives.
    pub(super) low: u8,
}

/// Huffman tables for DC and AC coefficients, by their numbers.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) dc: [Option<Codes>; 4],
    pub(super) ac: [Option<Codes>; 4],
}

impl Tables {
    fn dc(&self, number: usize) -> Result<&Codes, Damage> {
        self.dc.get(number).and_then(Option::as_ref).ok_or(Damage::Table)
    }

    fn ac(&self, number: usize) -> Result<&Codes, Damage> {
        self.ac.get(number).and_then(Option::as_ref).ok_or(Damage::Table)
    }
}

/// Walks through the data of `scan` at the beginning of `data`, and returns the position of the marker that follows.
pub(super) fn walk(
    frame: &mut Frame,
    scan: &Scan,
    tables: &Tables,
    restart_interval: usize,
    data: &[u8],
) -> Result<usize, Damage> {
    let [columns, rows] = frame.units(scan);
    let units = columns * rows;
    let interval = if restart_interval == 0 { units } else { restart_interval };
    let (mut start, mut done) = (0, 0);
    loop {
        let until = (done + interval).min(units);
        let mut walker = Walker { bits: Bits::new(&data[start..]), run: 0, scan, tables };
        for unit in done..until {
            walker.unit(frame, unit % columns, unit / columns)?;
        }
        let (length, left) = walker.bits.finish();
        if left {
            return Err(Damage::Left);
        }
        (start, done) = (start + length, until);
        if done == units {
            return Ok(start);
        }
        start = restart(data, start, (done / interval - 1) % 8)?;
    }
}

/// Position after the restart marker at `at`, which has to be the one of this number.
fn restart(data: &[u8], at: usize, number: usize) -> Result<usize, Damage> {
    match data.get(at..at + 2) {
        Some(&[_, marker]) if usize::from(marker) == 0xd0 + number => Ok(at + 2),
        Some(_) => Err(Damage::Restart),
        None => Err(Damage::EndsEarly),
    }
}

/// State between two restart markers.
struct Walker<'a> {
    bits: Bits<'a>,
    /// Number of blocks to come whose band has ended.
    run: u32,
    scan: &'a Scan,
    tables: &'a Tables,
}

impl Walker<'_> {
    /// Walks through the blocks of one minimum coded unit.
    fn unit(&mut self, frame: &mut Frame, column: usize, row: usize) -> Result<(), Damage> {
        let scan = self.scan;
        let interleaved = scan.components.len() > 1;
        for &(index, dc, ac) in &scan.components {
            let component = &mut frame.components[index];
            let [across, down] = if interleaved { component.sampling } else { [1, 1] };
            for block in 0..across * down {
                if frame.progressive {
                    let position =
                        (row * down + block / across) * component.stride + column * across + block % across;
                    self.progressive(&mut component.nonzero[position], dc, ac)?;
                } else {
                    self.sequential(dc, ac)?;
                }
            }
        }
        Ok(())
    }

    fn dc(&mut self, table: usize) -> Result<(), Damage> {
        let codes = self.tables.dc(table)?;
        // 8-bit images have differences of at most 11 bits.
        if self.bits.symbol_and_value(codes)? > 11 { Err(Damage::Coefficient) } else { Ok(()) }
    }

    #[inline]
    fn sequential(&mut self, dc: usize, ac: usize) -> Result<(), Damage> {
        self.dc(dc)?;
        let codes = self.tables.ac(ac)?;
        let mut next = 1;
        while next < 64 {
            let symbol = self.bits.symbol_and_value(codes)?;
            if symbol & 15 == 0 && symbol != 0xf0 {
                return Ok(());
            }
            next += usize::from(symbol >> 4) + 1;
        }
        if next > 64 { Err(Damage::Coefficient) } else { Ok(()) }
    }

    fn progressive(&mut self, nonzero: &mut u64, dc: usize, ac: usize) -> Result<(), Damage> {
        match (self.scan.band.0, self.scan.high) {
            (0, 0) => self.dc(dc),
            (0, _) => self.bits.read(1).map(|_| ()),
            (_, 0) => self.first(nonzero, ac),
            (..) => self.refine(nonzero, ac),
        }
    }

    /// Length of the run of blocks that a symbol `0xN0` begins.
    fn run_length(&mut self, exponent: u8) -> Result<u32, Damage> {
        Ok((1 << exponent) + self.bits.read(exponent.into())?)
    }

    /// Walks through a block in the first scan of a band.
    fn first(&mut self, nonzero: &mut u64, ac: usize) -> Result<(), Damage> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let codes = self.tables.ac(ac)?;
        let (mut next, last) = self.scan.band;
        while next <= last {
            let symbol = self.bits.symbol_and_value(codes)?;
            let zeros = symbol >> 4;
            if symbol & 15 == 0 && zeros < 15 {
                self.run = self.run_length(zeros)? - 1;
                return Ok(());
            }
            next += usize::from(zeros) + 1;
            if next > last + 1 {
                return Err(Damage::Coefficient);
            }
            *nonzero |= u64::from(symbol & 15 != 0) << (next - 1);
        }
        Ok(())
    }

    /// Walks through a block in a later scan of a band: one more bit of what is not zero, and what becomes it.
    fn refine(&mut self, nonzero: &mut u64, ac: usize) -> Result<(), Damage> {
        let codes = self.tables.ac(ac)?;
        let (mut next, last) = self.scan.band;
        while self.run == 0 && next <= last {
            let symbol = self.bits.symbol(codes)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            match size {
                0 if zeros < 15 => {
                    self.run = self.run_length(zeros)?;
                    break;
                }
                0 => {}
                1 => self.bits.read(1).map(|_| ())?,
                _ => return Err(Damage::Coefficient),
            }
            loop {
                if next > last {
                    return if size == 0 { Ok(()) } else { Err(Damage::Coefficient) };
                }
                next += 1;
                if *nonzero >> (next - 1) & 1 == 1 {
                    self.bits.read(1)?;
                } else if zeros == 0 {
                    *nonzero |= u64::from(size) << (next - 1);
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
        if self.run > 0 {
            self.run -= 1;
            let band = (u64::MAX >> (63 - last))
                & (u64::MAX << next.min(63))
                & u64::from(next <= last).wrapping_neg();
            for _ in 0..(*nonzero & band).count_ones() {
                self.bits.read(1)?;
            }
        }
        Ok(())
    }
}
