//! Attacks on a closed world: the attacker knows every film or page that can be watched, has trained on many sessions
//! of each through the very shaping that is attacked, and says which one a session is.
//!
//! Everything is generated and nothing needs a network. The shaping is a closure from the trace of an application to
//! the series on the wire, so a model, the simulator or a recording can stand behind it. Without shaping an attacker
//! must be right at least 95 times of 100 ([`UNSHAPED_MIN`]); else it is too weak for its failures to mean anything.

mod accuracy;
mod closed_world;
mod layers;
mod neighbours;
mod network;
mod series;
mod trace;

pub use accuracy::{Accuracy, INTERVAL_ERROR, UNSHAPED_MIN, leaked_max, released_max};
pub use closed_world::{Attacker, Dataset, DatasetError, SESSIONS_MAX, TRAINING_PER_CENT};
pub use neighbours::Neighbours;
pub use network::NetworkSize;
pub use series::{BINS_MAX, WireSeries};
pub use trace::{Arrival, Films, Pages, Trace, World};
