//! Rabin's rolling fingerprint, under the name and with the interface that rustic_core uses of the crate rustic_cdc.
//! That one computes its tables for every file anew; here they are kept.
//! It must never cut elsewhere than restic does, or nothing is shared with what restic wrote: the tests of wharfline-backup tell.

use std::sync::{Arc, Mutex, PoisonError};

/// A polynomial over GF(2): bit n is the coefficient of x^n.
pub type Polynom64 = u64;

/// Arithmetic of polynomials.
pub trait Polynom {
    /// The highest power; -1 for zero.
    fn degree(&self) -> i32;
    /// The remainder of a division by `divisor`, which is not zero.
    #[must_use]
    fn modulo(&self, divisor: &Self) -> Self;
}

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        self.checked_ilog2().map_or(-1, |power| power.cast_signed())
    }

    fn modulo(&self, divisor: &Self) -> Self {
        let mut rest = *self;
        let mut above = rest.degree() - divisor.degree();
        while above >= 0 {
            rest ^= divisor << above;
            above = rest.degree() - divisor.degree();
        }
        rest
    }
}

/// A fingerprint of the last bytes of a stream.
pub trait RollingHash64 {
    /// Begins anew with all but one byte of a window; says how many there were.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;
    /// Lets a byte in and the oldest out.
    fn slide(&mut self, byte: u8);
}

/// What depends on the polynomial and the window only.
#[derive(Debug)]
struct Tables {
    bits: u32,
    polynomial: Polynom64,
    /// What a byte contributes when it is the oldest of the window.
    leaving: [Polynom64; 256],
    /// What takes the eight highest bits away again, after a shift.
    reducing: [Polynom64; 256],
}

/// A repository has one polynomial, so one is enough to keep.
static KEPT: Mutex<Option<Arc<Tables>>> = Mutex::new(None);

impl Tables {
    fn of(bits: u32, polynomial: Polynom64) -> Arc<Tables> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = kept
            .as_ref()
            .filter(|tables| tables.bits == bits && tables.polynomial == polynomial)
        {
            return Arc::clone(tables);
        }
        let tables = Arc::new(Tables::compute(bits, polynomial));
        *kept = Some(Arc::clone(&tables));
        tables
    }

    fn compute(bits: u32, polynomial: Polynom64) -> Tables {
        let each =
            |of: &dyn Fn(Polynom64) -> Polynom64| std::array::from_fn(|byte| of(byte as Polynom64));
        let followed = |byte: Polynom64| {
            (1..1u64 << bits).fold(byte.modulo(&polynomial), |hash, _| {
                (hash << 8).modulo(&polynomial)
            })
        };
        let high = |byte: Polynom64| byte << polynomial.degree();
        Tables {
            bits,
            polynomial,
            leaving: each(&followed),
            reducing: each(&|byte| high(byte).modulo(&polynomial) | high(byte)),
        }
    }
}

/// Rabin's fingerprint over a window of a power of two of bytes.
#[derive(Debug, Clone)]
pub struct Rabin64 {
    tables: Arc<Tables>,
    /// Where the highest eight bits of a hash begin.
    shift: u32,
    window: Vec<u8>,
    /// Where the oldest byte is.
    oldest: usize,
    /// The fingerprint.
    pub hash: Polynom64,
}

impl Rabin64 {
    /// A window of 2^`bits` bytes, and a polynomial of degree 8 to 55.
    #[must_use]
    pub fn new_with_polynom(bits: u32, polynomial: &Polynom64) -> Rabin64 {
        let shift = polynomial.degree().saturating_sub(8).max(0).cast_unsigned();
        Rabin64 {
            tables: Tables::of(bits, *polynomial),
            shift,
            window: vec![0; 1 << bits],
            oldest: 0,
            hash: 0,
        }
    }
}

impl RollingHash64 for Rabin64 {
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        self.window.fill(0);
        self.hash = 0;
        let mut count = 0;
        for byte in bytes.take(self.window.len() - 1) {
            self.slide(byte);
            count += 1;
        }
        count
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        let at = self.oldest & (self.window.len() - 1);
        let leaving = std::mem::replace(&mut self.window[at], byte);
        self.oldest = at + 1;
        let hash = self.hash ^ self.tables.leaving[usize::from(leaving)];
        let high = (hash >> self.shift) & 0xff;
        self.hash = (hash << 8 | Polynom64::from(byte)) ^ self.tables.reducing[high as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one that restic's own tests use (chunker_test.go), of degree 53.
    const POLYNOMIAL: Polynom64 = 0x003D_A335_8B4D_C173;

    /// The remainder of a whole string of bytes, by the definition.
    fn slowly(bytes: &[u8]) -> Polynom64 {
        bytes.iter().fold(0, |hash, byte| {
            (hash << 8 | Polynom64::from(*byte)).modulo(&POLYNOMIAL)
        })
    }

    #[test]
    fn remainders_and_degrees_are_those_of_polynomials() {
        assert_eq!(0u64.degree(), -1);
        assert_eq!(0x80u64.degree(), 7);
        assert_eq!(7u64.modulo(&3), 1);
        assert_eq!(19u64.modulo(&8), 3);
    }

    #[test]
    fn a_fingerprint_is_that_of_the_last_window() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n * n % 251) as u8).collect();
        let mut rabin = Rabin64::new_with_polynom(6, &POLYNOMIAL);
        assert_eq!(
            rabin.reset_and_prefill_window(&mut bytes.iter().copied()),
            63
        );
        assert_eq!(rabin.hash, slowly(&bytes[..63]));
        for end in 64..=bytes.len() {
            rabin.slide(bytes[end - 1]);
            assert_eq!(rabin.hash, slowly(&bytes[end - 64..end]));
        }
        assert_eq!(
            rabin.reset_and_prefill_window(&mut bytes[..5].iter().copied()),
            5
        );
        assert_eq!(rabin.hash, slowly(&bytes[..5]));
    }
}
