//! The environment of the two processes (kubernetes.md §5.3).

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use crate::{
    endpoint::{self, Port},
    fault::{Fault, Faults, Place},
    secret::SecretText,
};

const SUBJECT: &str = "the environment";

/// What the controller is told by its environment; complete and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `NAMESPACE`: the one namespace that is served.
    pub namespace: String,
    /// `ROUTER_KEY`: signs router tickets.
    pub router_key: SecretText,
    /// `GRPC_ENDPOINT`: public `host:port` of the controller.
    pub endpoint: String,
    /// `GRPC_ROUTER_ENDPOINT`: told by the login service alone.
    pub router_endpoint: Option<String>,
    /// `LOGIN_ENDPOINT`: shown on the login page.
    pub login_endpoint: Option<String>,
    /// `LOGIN_SERVICE_PORT`: where the login service listens; the host is empty for every address.
    pub login_listen: String,
    /// `CA_BUNDLE_PEM`: certificates that the login service hands out.
    pub ca_bundle: Option<String>,
    /// `EXTERNAL_CERT_PEM` and `EXTERNAL_KEY_PEM`.
    pub certificate: Option<CertificateFiles>,
    /// What is accepted but has no effect. Log each.
    pub warnings: Vec<String>,
}

/// What a router is told by its environment; complete and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterEnvironment {
    /// `ROUTER_KEY`: verifies router tickets.
    pub router_key: SecretText,
    /// `GRPC_ROUTER_ENDPOINT`: public `host:port`, for the certificate that the router makes itself.
    pub endpoint: String,
    /// `EXTERNAL_CERT_PEM` and `EXTERNAL_KEY_PEM`.
    pub certificate: Option<CertificateFiles>,
}

/// Files with the certificate chain and the key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Environment {
    /// Reads the variables (`std::env::vars_os()`); `mounted_namespace` is the text of the service account's namespace
    /// file, if there is one, and stands in for `NAMESPACE`.
    ///
    /// # Errors
    /// Everything that is wrong, at once. No message holds a secret.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
        mounted_namespace: Option<&str>,
    ) -> Result<Self, Faults> {
        let mut read = Variables::new(vars);
        let mounted = mounted_namespace.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let namespace = read.text("NAMESPACE").or(mounted).unwrap_or_default();
        if namespace.is_empty() {
            read.fault("NAMESPACE", "is missing: name the namespace that is served");
        } else if let Err(error) = jumpstarter_model::name::validate_label("namespace", &namespace) {
            read.fault("NAMESPACE", error.to_string());
        }
        let login_listen = read.text("LOGIN_SERVICE_PORT").unwrap_or_else(|| ":8086".to_owned());
        let login_listen = endpoint::listen(&login_listen).unwrap_or_else(|error| {
            read.fault("LOGIN_SERVICE_PORT", error);
            String::new()
        });
        let ca_bundle = read.text("CA_BUNDLE_PEM");
        if ca_bundle.as_ref().is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----")) {
            read.fault("CA_BUNDLE_PEM", "expected certificates in PEM (the text itself, not the name of a file)");
        }
        let mut warnings = Vec::new();
        if read.text("CONTROLLER_KEY").is_some() {
            warnings.push("CONTROLLER_KEY is not used: tokens are signed with a key of our own".to_owned());
        }
        let environment = Self {
            namespace,
            router_key: read.router_key(),
            endpoint: read.endpoint("GRPC_ENDPOINT").unwrap_or_else(|| "localhost:8082".to_owned()),
            router_endpoint: read.endpoint("GRPC_ROUTER_ENDPOINT"),
            login_endpoint: read.text("LOGIN_ENDPOINT"),
            login_listen,
            ca_bundle,
            certificate: read.certificate(),
            warnings,
        };
        Faults::check(SUBJECT.to_owned(), read.faults).map(|()| environment)
    }
}

impl RouterEnvironment {
    /// Reads the variables (`std::env::vars_os()`).
    ///
    /// # Errors
    /// Everything that is wrong, at once. No message holds a secret.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Faults> {
        let mut read = Variables::new(vars);
        let environment = Self {
            router_key: read.router_key(),
            endpoint: read.endpoint("GRPC_ROUTER_ENDPOINT").unwrap_or_else(|| "localhost:8083".to_owned()),
            certificate: read.certificate(),
        };
        Faults::check(SUBJECT.to_owned(), read.faults).map(|()| environment)
    }
}

struct Variables {
    all: BTreeMap<OsString, OsString>,
    faults: Vec<Fault>,
}

impl Variables {
    fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { all: vars.into_iter().collect(), faults: Vec::new() }
    }

    fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Fault { place: Place::Variable(name.to_owned()), message: message.into() });
    }

    /// A variable; an empty one is as good as none.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.all.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())?;
        match value.to_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.fault(name, "is not UTF-8");
                None
            }
        }
    }

    fn router_key(&mut self) -> SecretText {
        let key = self.text("ROUTER_KEY").unwrap_or_default();
        if key.is_empty() {
            self.fault(
                "ROUTER_KEY",
                "is missing: controller and routers need the same secret, usually from the Secret \
                 `jumpstarter-router-secret`",
            );
        }
        SecretText::new(key)
    }

    fn endpoint(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if let Err(error) = endpoint::check(&text, Port::Required) {
            self.fault(name, error);
        }
        Some(text)
    }

    fn certificate(&mut self) -> Option<CertificateFiles> {
        let certificate = self.file("EXTERNAL_CERT_PEM");
        let key = self.file("EXTERNAL_KEY_PEM");
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.fault("EXTERNAL_KEY_PEM", "is missing: EXTERNAL_CERT_PEM is set, and both files are needed");
                None
            }
            (None, Some(_)) => {
                self.fault("EXTERNAL_CERT_PEM", "is missing: EXTERNAL_KEY_PEM is set, and both files are needed");
                None
            }
        }
    }

    /// The name of a file. What is there instead is not shown: it may be a private key.
    fn file(&mut self, name: &str) -> Option<PathBuf> {
        let value = self.all.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())?.clone();
        if value.to_str().is_some_and(|text| text.contains("-----BEGIN")) {
            self.fault(name, "expected the name of a PEM file, found its content");
        }
        Some(value.into())
    }
}
