//! Where other replicas reach this one.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use anyhow::Context as _;

/// The address to publish when this replica leads: the one it listens on if that is a certain one, else `POD_IP`, else
/// the one that leads to the API server.
pub(crate) fn of_this_replica(
    bound: SocketAddr,
    pod_ip: Option<&str>,
    api_server: &http::Uri,
) -> anyhow::Result<SocketAddr> {
    let ip = if !bound.ip().is_unspecified() {
        bound.ip()
    } else if let Some(text) = pod_ip.filter(|text| !text.is_empty()) {
        text.parse().with_context(|| format!("POD_IP: `{text}` is not an IP address"))?
    } else {
        towards(api_server).context("find the address of this replica: set POD_IP, from status.podIP")?
    };
    Ok(SocketAddr::new(ip, bound.port()))
}

/// The local address of the route to a server. Nothing is sent.
fn towards(server: &http::Uri) -> anyhow::Result<IpAddr> {
    let host = server.host().context("the API server's address names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = server.port_u16().unwrap_or(443);
    let target = (host, port).to_socket_addrs()?.next().with_context(|| format!("{host} has no address"))?;
    let any: SocketAddr = if target.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bound: &str, pod_ip: Option<&str>, expected: &str) {
        let server = http::Uri::from_static("https://127.0.0.1:6443");
        let address = of_this_replica(bound.parse().unwrap(), pod_ip, &server).unwrap();
        assert_eq!(address.to_string(), expected);
    }

    #[test]
    fn the_most_certain_address_is_published() {
        check("127.0.0.3:8082", Some("10.1.2.3"), "127.0.0.3:8082");
        check("[::]:8082", Some("10.1.2.3"), "10.1.2.3:8082");
        check("[::]:8082", Some("fd00::7"), "[fd00::7]:8082");
        check("0.0.0.0:8082", None, "127.0.0.1:8082");
        check("0.0.0.0:8082", Some(""), "127.0.0.1:8082");
    }

    #[test]
    fn a_bad_pod_ip_is_named() {
        let server = http::Uri::from_static("https://127.0.0.1:6443");
        let error = of_this_replica("0.0.0.0:1".parse().unwrap(), Some("here"), &server).unwrap_err();
        assert!(format!("{error:#}").contains("POD_IP: `here`"), "{error:#}");
    }
}
