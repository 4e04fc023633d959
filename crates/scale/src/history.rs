//! The last decisions.

use std::collections::VecDeque;

use crate::decision::Decision;

/// The last decisions that differed from the one before them.
///
/// It keeps a fixed number and drops the oldest. Repeating a decision for the
/// same reason adds nothing: the entry already there stands for it, and has the
/// inputs from when it was first made.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    entries: VecDeque<Decision>,
    capacity: usize,
    recorded: u64,
}

impl DecisionLog {
    /// The most entries a log can keep.
    pub const CAPACITY_MAX: usize = 10_000;

    /// A log of the last `capacity` decisions, at least 1 and at most
    /// [`CAPACITY_MAX`](Self::CAPACITY_MAX).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity: capacity.clamp(1, Self::CAPACITY_MAX),
            recorded: 0,
        }
    }

    /// Keeps the decision if it asks for another number than the last one, or
    /// for another reason. Gives whether it did.
    pub fn record(&mut self, decision: &Decision) -> bool {
        let same = self.entries.back().is_some_and(|last| {
            (last.desired, last.reason, last.panic)
                == (decision.desired, decision.reason, decision.panic)
        });
        if same {
            return false;
        }
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(*decision);
        self.recorded += 1;
        true
    }

    /// The decisions that are kept, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> + ExactSizeIterator {
        self.entries.iter()
    }

    /// How many decisions have ever been kept, those dropped since included.
    #[must_use]
    pub const fn recorded(&self) -> u64 {
        self.recorded
    }
}
