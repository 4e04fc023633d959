//! The task that waits, kept where something else will wake it.

use std::task::{Context, Waker};

/// Keeps the task of `cx` in `task`; does nothing if it is there already, which is the rule.
pub(crate) fn remember(task: &mut Option<Waker>, cx: &Context<'_>) {
    match task {
        Some(known) => known.clone_from(cx.waker()),
        None => *task = Some(cx.waker().clone()),
    }
}
