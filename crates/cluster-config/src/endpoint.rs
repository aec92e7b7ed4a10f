//! `host:port` as texts, checked.

use crate::fault::quote;

/// Whether the port may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Required,
    /// Peers then take 443.
    Optional,
}

/// Checks `host:port`; the error says what is expected.
pub(crate) fn check(text: &str, port: Port) -> Result<(), String> {
    let expected =
        || format!("{} is not an address: expected HOST:PORT such as `grpc.lab.example.com:443`", quote(text));
    let (host, digits) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(expected)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| expected())?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(expected)?) })
    } else {
        match text.split_once(':') {
            Some((host, digits)) => (host, Some(digits)),
            None => (text, None),
        }
    };
    let host_ok = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let port_ok = match digits {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|number| number > 0)
        }
        None => port == Port::Optional,
    };
    if host_ok && port_ok { Ok(()) } else { Err(expected()) }
}

/// An address to listen on: `HOST:PORT`, `:PORT` or a bare port.
pub(crate) fn listen(text: &str) -> Result<String, String> {
    let expected = || format!("{} is no address to listen on: expected a port, `:PORT` or HOST:PORT", quote(text));
    let (host, digits) = text.rsplit_once(':').unwrap_or(("", text));
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.parse::<u16>().is_err() {
        return Err(expected());
    }
    if !host.is_empty() {
        check(text, Port::Required).or_else(|_| if digits == "0" { Ok(()) } else { Err(expected()) })?;
    }
    Ok(format!("{host}:{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["grpc.example.com:443", "10.0.0.1:1", "[::1]:8082", "my-host_1:65535"] {
            assert_eq!(check(good, Port::Required), Ok(()), "{good}");
        }
        assert!(check("grpc.example.com", Port::Optional).is_ok());
        for bad in
            ["", ":443", "host", "host:0", "host:65536", "host:+1", "https://host:1", "a:1:2", "[host]:1", "h o:1"]
        {
            let error = check(bad, Port::Required).unwrap_err();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn addresses_to_listen_on_may_be_short() {
        assert_eq!(listen("8086").unwrap(), ":8086");
        assert_eq!(listen(":8086").unwrap(), ":8086");
        assert_eq!(listen("127.0.0.1:0").unwrap(), "127.0.0.1:0");
        assert_eq!(listen("[::1]:8086").unwrap(), "[::1]:8086");
        for bad in ["", "http", ":x", "a b:1", ":70000"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
