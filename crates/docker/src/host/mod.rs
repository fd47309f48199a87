//! What every network driver of ours does on a Docker host: networks that outlive it, and endpoints that it finds again.
//! A plugin says what its networks are ([`NetworkKind`]), and [`serve`] is its server.
//! It must never reach the kernel's links and tables past the engine, nor know what a bridge or a parent is.
//!
//! ```text
//! serve       the program
//! kind        what a plugin's networks are
//! networks    CreateNetwork, DeleteNetwork, and all that a restart finds
//! calls       the calls about endpoints
//! endpoint    an endpoint, between its calls and after a restart
//! arrival     telling the segment of a container that has come up
//! store       networks on the disk
//! subnets     their addresses and gateways
//! measured    what there is of them, for Prometheus
//! ```

mod arrival;
mod calls;
mod endpoint;
mod kind;
mod measured;
mod networks;
mod serve;
mod store;
mod subnets;

pub use endpoint::Endpoint;
pub use kind::NetworkKind;
pub use networks::{Network, Networks};
pub use serve::serve;
pub use subnets::Subnets;
