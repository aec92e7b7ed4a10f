//! Where clients are told to connect.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use jumpstarter_transport::Endpoint;
use tokio::{
    net::{UdpSocket, lookup_host},
    time::timeout,
};

/// As many as a controller takes.
const MAX: usize = 8;
/// Time for looking up the controller's name.
const LOOK_UP: Duration = Duration::from_secs(2);

/// The addresses that an operator names, each with a port.
pub(super) fn given(texts: &[String], port: u16) -> io::Result<Vec<String>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    if texts.len() > MAX {
        return Err(invalid(format!("{} addresses are named for clients; at most {MAX} are taken", texts.len())));
    }
    let complete = |text: &String| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let text = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) if text.contains(':') => text.clone(),
            Err(_) => format!("{text}:{port}"),
        };
        let endpoint = text.parse::<Endpoint>().map_err(|err| invalid(err.to_string()))?;
        Ok(endpoint.to_string())
    };
    texts.iter().map(complete).collect()
}

/// The address that the listener is bound to, or those by which this machine reaches the controller.
pub(super) async fn found(local: SocketAddr, controller: &str) -> Vec<String> {
    if !local.ip().is_unspecified() {
        return vec![local.to_string()];
    }
    let Ok(Endpoint { host, port }) = controller.parse() else { return Vec::new() };
    let Ok(Ok(addresses)) = timeout(LOOK_UP, lookup_host((host, port))).await else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for address in addresses.filter(|address| local.is_ipv6() || address.is_ipv4()).take(MAX) {
        if let Ok(own) = way_to(address).await
            && !is_link_local(own)
        {
            let own = SocketAddr::new(own, local.port()).to_string();
            if !found.contains(&own) {
                found.push(own);
            }
        }
    }
    found
}

/// The address of this machine that packets to `address` would carry. Nothing is sent.
async fn way_to(address: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket.local_addr()?.ip())
}

/// Means something on one link only, and not without naming the interface.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_addresses_get_the_port_of_the_listener() {
        let cases = [
            ("lab", "lab:7000"),
            ("lab:1", "lab:1"),
            ("10.0.0.1", "10.0.0.1:7000"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("::1", "[::1]:7000"),
            ("[::1]", "[::1]:7000"),
            ("[::1]:2", "[::1]:2"),
        ];
        for (text, expected) in cases {
            assert_eq!(given(&[text.to_owned()], 7000).unwrap(), [expected], "{text}");
        }
        for wrong in ["", "lab:", "lab:x", "a b", "http://lab"] {
            assert!(given(&[wrong.to_owned()], 7000).is_err(), "{wrong}");
        }
        assert!(given(&vec!["lab".to_owned(); MAX + 1], 7000).is_err());
    }

    #[tokio::test]
    async fn without_names_the_way_to_the_controller_counts() {
        let bound: SocketAddr = "127.0.0.1:5".parse().unwrap();
        assert_eq!(found(bound, "controller.invalid:1").await, ["127.0.0.1:5"]);
        let any: SocketAddr = "0.0.0.0:5".parse().unwrap();
        assert_eq!(found(any, "127.0.0.1:8082").await, ["127.0.0.1:5"]);
        assert_eq!(found(any, "no controller").await, Vec::<String>::new());
    }
}
