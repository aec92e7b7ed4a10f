//! Byte streams to things on the network.
mod echo;
mod tcp;

pub(crate) use echo::EchoNetwork;
pub(crate) use tcp::TcpNetwork;

/// The client class of all plain network drivers.
const CLIENT: &str = "jumpstarter_driver_network.client.NetworkClient";
