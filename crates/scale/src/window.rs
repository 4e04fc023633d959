//! Windows over the last seconds of load.

mod linear;
mod max;
mod reporters;
mod ring;
mod weighted;

pub use linear::LinearWindow;
pub use max::MaxWindow;
pub use reporters::{REPORTERS_MAX, Reporters};
pub use weighted::WeightedWindow;
