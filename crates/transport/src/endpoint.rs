//! `host:port` as written in configurations.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The port of an endpoint that names none, as existing clients assume.
pub const DEFAULT_PORT: u16 = 443;

/// A host and a port. IPv6 literals may stand in brackets; a missing port means [`DEFAULT_PORT`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A DNS name or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an endpoint: {reason}; expected HOST:PORT, for example lab.example.com:8082 or [::1]:8082")]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl Endpoint {
    /// The IP address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| EndpointError { text: text.chars().take(100).collect(), reason };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong("only an IPv6 address may stand in brackets"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("only a port may follow the bracket")),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)) {
            return Err(wrong("the host has characters that no host name has"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is not in 1–65535"))?
            }
            Some(_) => return Err(wrong("the port is not a number")),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        let cases = [
            ("lab.example.com:8082", "lab.example.com", 8082, "lab.example.com:8082"),
            ("lab", "lab", 443, "lab:443"),
            ("127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
            ("[::1]:8082", "::1", 8082, "[::1]:8082"),
            ("[::1]", "::1", 443, "[::1]:443"),
            ("fe80::1", "fe80::1", 443, "[fe80::1]:443"),
            ("my_host.local:65535", "my_host.local", 65535, "my_host.local:65535"),
        ];
        for (text, host, port, shown) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{text}");
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            ":8082",
            "host:",
            "host:0",
            "host:65536",
            "host:http",
            "host:+1",
            "[::1",
            "[host]:1",
            "[::1]x",
            "a:1:2",
            "https://host:1",
            "ho st:1",
            "host/path:1",
            "käse:1",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{text}: {error}");
        }
    }
}
