//! What a client shows to be let in, and what an exporter knows of it.

use std::{fmt, io};

use aws_lc_rs::{digest, rand};

/// Bytes of a ticket and of a digest.
const LENGTH: usize = 32;

/// A random secret that lets its holder in once.
#[derive(Clone)]
pub struct Ticket([u8; LENGTH]);

impl Ticket {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(Self(bytes))
    }

    /// The ticket with these bytes; none when they are not as many as a ticket has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes themselves: for the wire, never for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// What an exporter is told of it. Looking a ticket up by its digest tells nothing of tickets through the time that
    /// it takes: nobody can choose a digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// A SHA-256, of a ticket or of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; LENGTH]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = [0; LENGTH];
        found.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(found)
    }

    /// A digest as it came over the wire; none when it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first bytes, enough to tell two apart.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_do_not_print_and_are_never_alike() {
        let (one, other) = (Ticket::generate().unwrap(), Ticket::generate().unwrap());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(format!("{one:?}"), "Ticket(…)");
        assert_eq!(Ticket::from_bytes(one.expose()).unwrap().digest(), one.digest());
        for length in [0, 31, 33] {
            assert!(Ticket::from_bytes(&vec![0; length]).is_none(), "{length}");
            assert!(Digest::from_bytes(&vec![0; length]).is_none(), "{length}");
        }
    }

    #[test]
    fn digests_are_those_that_everybody_computes() {
        let empty = Digest::of(b"");
        assert_eq!(empty.as_bytes()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(empty.to_string(), "e3b0c44298fc1c14…");
    }
}
