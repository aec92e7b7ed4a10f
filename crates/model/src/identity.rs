//! Token subjects, user names, and the object that a user name speaks for (kubernetes.md §6.2, §6.4).

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use kube::core::ObjectMeta;

use crate::{
    Client, Exporter,
    name::{MAX_LABEL, NameError, validate_subdomain},
};

/// Prefix of the user names of tokens that we sign, unless configured otherwise.
pub const DEFAULT_INTERNAL_PREFIX: &str = "internal:";
/// Annotation whose value replaces the namespace in the subject, for objects moved from elsewhere.
pub const MIGRATED_NAMESPACE: &str = "jumpstarter.dev/migrated-namespace";
/// Annotation whose value replaces the UID in the subject.
pub const MIGRATED_UID: &str = "jumpstarter.dev/migrated-uid";

/// The two kinds of object that hold tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A client.
    Client,
    /// An exporter.
    Exporter,
}

impl Kind {
    /// The word in token subjects and Secret names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
        }
    }

    /// The value of the `jumpstarter-kind` call metadata.
    pub const fn as_metadata(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
        }
    }

    /// Reads the `jumpstarter-kind` call metadata, case as given.
    pub fn from_metadata(text: &str) -> Option<Self> {
        match text {
            "Client" => Some(Self::Client),
            "Exporter" => Some(Self::Exporter),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `sub` of an internal token: `client:<namespace>:<name>:<uid>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Kind of the object.
    pub kind: Kind,
    /// Its namespace, or the one it was migrated from.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, or the one it had before a migration.
    pub uid: String,
}

/// The text is no subject of an internal token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token subject is not of the form client:<namespace>:<name>:<uid> or exporter:<namespace>:<name>:<uid>")]
pub struct SubjectError;

impl Subject {
    /// The subject of a client's token.
    pub fn of_client(client: &Client) -> Self {
        Self::of(Kind::Client, &client.metadata)
    }

    /// The subject of an exporter's token.
    pub fn of_exporter(exporter: &Exporter) -> Self {
        Self::of(Kind::Exporter, &exporter.metadata)
    }

    /// The subject for an object with this metadata, migration annotations applied.
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        let annotation = |key| {
            let value = metadata.annotations.as_ref()?.get(key)?;
            (!value.is_empty()).then(|| value.clone())
        };
        Self {
            kind,
            namespace: annotation(MIGRATED_NAMESPACE).or_else(|| metadata.namespace.clone()).unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: annotation(MIGRATED_UID).or_else(|| metadata.uid.clone()).unwrap_or_default(),
        }
    }

    /// The user name that a verified token with this subject gets.
    pub fn username(&self, internal_prefix: &str) -> String {
        format!("{internal_prefix}{self}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.kind, self.namespace, self.name, self.uid)
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(SubjectError);
        let kind = match next()? {
            "client" => Kind::Client,
            "exporter" => Kind::Exporter,
            _ => return Err(SubjectError),
        };
        Ok(Self { kind, namespace: next()?.to_owned(), name: next()?.to_owned(), uid: next()?.to_owned() })
    }
}

/// Where a user name comes from, which decides who may choose the object name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserClass {
    /// A token that we signed.
    Internal,
    /// A Kubernetes service account behind an authenticator prefix.
    ServiceAccount,
    /// Anybody else.
    External,
}

/// Tells the class of an authenticated user name.
pub fn classify(username: &str, internal_prefix: &str) -> UserClass {
    if !internal_prefix.is_empty() && username.starts_with(internal_prefix) {
        return UserClass::Internal;
    }
    let parts = username.split(':').collect::<Vec<_>>();
    if parts.len() >= 5 && parts[1] == "system" && parts[2] == "serviceaccount" {
        return UserClass::ServiceAccount;
    }
    UserClass::External
}

/// Why no object could be told for a user. The text fits `INVALID_ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectNameError {
    /// Internal tokens and service accounts must say whom they speak for.
    #[error("jumpstarter-name is missing from the call metadata")]
    Missing,
    /// The name given differs from the one that the user name gives.
    #[error("jumpstarter-name `{given}` does not belong to this user, whose name is `{derived}`")]
    Mismatch {
        /// Name in the call metadata.
        given: String,
        /// Name derived from the user name.
        derived: String,
    },
    /// The user name has no letter or digit to make a name of.
    #[error("the user name gives no object name")]
    Underivable,
    /// The name given could not be the name of any object.
    #[error(transparent)]
    Malformed(#[from] NameError),
}

/// The name of the object that an authenticated user speaks for; `given` is the `jumpstarter-name` of the call.
pub fn object_name(username: &str, internal_prefix: &str, given: Option<&str>) -> Result<String, ObjectNameError> {
    let given = given.filter(|name| !name.is_empty());
    match classify(username, internal_prefix) {
        UserClass::Internal | UserClass::ServiceAccount => {
            let name = given.ok_or(ObjectNameError::Missing)?;
            validate_subdomain("jumpstarter-name", name)?;
            Ok(name.to_owned())
        }
        UserClass::External => {
            let derived = derive_name(username);
            match given {
                Some(given) if given != derived => {
                    Err(ObjectNameError::Mismatch { given: given.chars().take(MAX_LABEL).collect(), derived })
                }
                _ if derived.is_empty() => Err(ObjectNameError::Underivable),
                _ => Ok(derived),
            }
        }
    }
}

/// Makes an object name of an external user name: `dex:foo@example.com` gives `foo-example-com`.
///
/// Empty when the user name has no letter or digit after the first colon.
pub fn derive_name(username: &str) -> String {
    let bare = username.split_once(':').map_or(username, |(_, rest)| rest);
    let mut name = String::new();
    for c in bare.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-');
    // Only ASCII is left, so any byte is a character border.
    name[..name.len().min(MAX_LABEL)].trim_matches('-').to_owned()
}

/// Whether an authenticated user name belongs to an object: as the holder of its token, or by its `spec.username`.
pub fn may_act_as(username: &str, internal_prefix: &str, subject: &Subject, spec_username: Option<&str>) -> bool {
    let external = spec_username.filter(|name| !name.is_empty());
    username == subject.username(internal_prefix) || external == Some(username)
}
