//! Walk through the entropy-coded data of a JPEG's scans, to find damage that decoders pass over (ITU-T T.81, annexes F
//! and G).
//!
//! Decoders fill what they cannot read with gray. This walk reads every code, and keeps nothing but which coefficients of
//! a progressive JPEG are not zero, because the length of later scans depends on it.

use super::Damage;
use super::frame::{Component, Frame};
use super::huffman::{Bits, Codes, is_marker};

/// Largest DC coefficient of an 8-bit image, before quantisation.
const MAX_DC: u64 = 1024;

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

impl Scan {
    /// Reads the header of a scan of `frame`.
    pub(super) fn read(frame: &Frame, segment: &[u8]) -> Result<Self, Damage> {
        let (&count, rest) = segment.split_first().ok_or(Damage::Header)?;
        let (selected, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or(Damage::Header)?;
        let &[first, last, bits, ..] = rest else { return Err(Damage::Header) };
        let component = |one: &[u8]| {
            let index = frame.components.iter().position(|component| component.id == one[0])?;
            Some((index, usize::from(one[1] >> 4), usize::from(one[1] & 15)))
        };
        let components = selected.chunks_exact(2).map(component).collect::<Option<Vec<_>>>();
        let components = components.filter(|all| (1..=4).contains(&all.len())).ok_or(Damage::Header)?;
        if !frame.progressive {
            return Ok(Self { components, band: (0, 63), high: 0, low: 0 });
        }
        let is_of_dc = (first, last) == (0, 0);
        let is_of_ac = (1..=last).contains(&first) && last < 64 && components.len() == 1;
        let (high, low) = (bits >> 4, bits & 15);
        if !is_of_dc && !is_of_ac || low > 13 {
            return Err(Damage::Header);
        }
        Ok(Self { components, band: (first.into(), last.into()), high, low })
    }
}

/// Huffman tables for DC and AC coefficients, by their numbers.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) dc: [Option<Codes>; 4],
    pub(super) ac: [Option<Codes>; 4],
}

impl Tables {
    /// Tells whether no table was defined.
    pub(super) fn is_empty(&self) -> bool {
        self.dc.iter().chain(&self.ac).all(Option::is_none)
    }

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
    let (mut column, mut row) = (0, 0);
    loop {
        let until = (done + interval).min(units);
        let mut walker = Walker { bits: Bits::new(&data[start..]), run: 0, last_dc: [0; 4], scan, tables };
        let mut each = (done..until).map(|_| {
            let result = walker.unit(frame, column, row);
            (column, row) = if column + 1 < columns { (column + 1, row) } else { (0, row + 1) };
            result
        });
        each.find(Result::is_err).unwrap_or(Ok(())).map_err(|damage| match damage {
            Damage::EndsEarly if !data[start..].windows(2).any(is_marker) => Damage::Truncated,
            damage => damage,
        })?;
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
        None => Err(Damage::Truncated),
    }
}

/// State between two restart markers.
struct Walker<'a> {
    bits: Bits<'a>,
    /// Number of blocks to come whose band has ended.
    run: u32,
    /// DC coefficients of the last blocks, by component of the scan.
    last_dc: [i32; 4],
    scan: &'a Scan,
    tables: &'a Tables,
}

impl Walker<'_> {
    /// Walks through the blocks of one minimum coded unit.
    fn unit(&mut self, frame: &mut Frame, column: usize, row: usize) -> Result<(), Damage> {
        let scan = self.scan;
        let interleaved = scan.components.len() > 1;
        for (last, &(index, dc, ac)) in scan.components.iter().enumerate() {
            let component = &mut frame.components[index];
            let [across, down] = if interleaved { component.sampling } else { [1, 1] };
            for y in 0..down {
                for x in 0..across {
                    match (scan.band.0, scan.high) {
                        (0, 0) => self.dc(component, last, dc)?,
                        (0, _) => self.bits.read(1).map(|_| ())?,
                        _ => {}
                    }
                    if !frame.progressive {
                        self.bits.skip_block(self.tables.ac(ac)?)?;
                    } else if scan.band.0 > 0 {
                        let position = (row * down + y) * component.stride + column * across + x;
                        self.progressive(&mut component.nonzero[position], ac)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Walks through a DC coefficient, the difference to that of the component's last block.
    fn dc(&mut self, component: &Component, last: usize, table: usize) -> Result<(), Damage> {
        let length = u32::from(self.bits.symbol(self.tables.dc(table)?)?);
        // 8-bit images have differences of at most 11 bits.
        if length > 11 {
            return Err(Damage::Coefficient);
        }
        let bits = self.bits.read(length)? as i32;
        let is_negative = length > 0 && bits >> (length - 1) == 0;
        self.last_dc[last] += if is_negative { bits - (1 << length) + 1 } else { bits };
        // Eight times the mean of samples from -128 to 127. After damage, all blocks are too bright or too dark.
        let quantum = u64::from(component.quantum);
        let value = u64::from(self.last_dc[last].unsigned_abs() << self.scan.low) * quantum;
        if value > MAX_DC + quantum { Err(Damage::Coefficient) } else { Ok(()) }
    }

    fn progressive(&mut self, nonzero: &mut u64, ac: usize) -> Result<(), Damage> {
        if self.scan.high == 0 { self.first(nonzero, ac) } else { self.refine(nonzero, ac) }
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
            let corrected = (*nonzero & band).count_ones();
            for part in 0..corrected.div_ceil(16) {
                self.bits.read(16.min(corrected - 16 * part))?;
            }
        }
        Ok(())
    }
}
