//! Identifiers of traces and spans.

use std::hash::{BuildHasher, RandomState};

use crate::dice::Dice;

/// Makes identifiers that nobody else makes, most probably.
#[derive(Debug)]
pub(super) struct Ids(Dice);

impl Ids {
    /// Different in every process.
    pub(super) fn new() -> Self {
        Self(Dice::new(RandomState::new().hash_one("trace")))
    }

    /// Of a trace: not all zero.
    pub(super) fn trace(&self) -> [u8; 16] {
        let bits = (u128::from(self.0.bits()) << 64) | u128::from(self.0.bits());
        bits.max(1).to_be_bytes()
    }

    /// Of a span: not all zero.
    pub(super) fn span(&self) -> [u8; 8] {
        self.0.bits().max(1).to_be_bytes()
    }
}
