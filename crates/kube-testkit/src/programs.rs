//! Where the servers are.

use std::{
    env,
    path::{Path, PathBuf},
};

use jumpstarter_peers::kubernetes;

/// Set where the servers can neither be found nor built: the test program then ends well, and says so. Not in CI.
const WITHOUT: &str = "JUMPSTARTER_WITHOUT_KUBE";

/// The directory with `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl`.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// `KUBEBUILDER_ASSETS` when set, else what `cargo xtask setup` has built.
    #[must_use]
    pub fn find() -> Self {
        if let Some(dir) = env::var_os("KUBEBUILDER_ASSETS") {
            return Self { dir: dir.into() };
        }
        match kubernetes::SERVERS.find() {
            Ok(dir) => Self { dir },
            Err(_) if env::var_os(WITHOUT).is_some() && env::var_os("CI").is_none() => {
                eprintln!(
                    "skipped: every test of this program, for want of a kube-apiserver; install Go and run `cargo xtask \
                     setup`, or set KUBEBUILDER_ASSETS"
                );
                // The test runner knows no other way to skip at run time.
                std::process::exit(0)
            }
            Err(error) => panic!("no kube-apiserver to test against: {error}; or set KUBEBUILDER_ASSETS"),
        }
    }

    /// One of them.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// One that others than us may have left out of their assets.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<PathBuf> {
        let own = || kubernetes::SERVERS.find().ok().map(|dir| dir.join(name));
        Some(self.path(name)).filter(|path| path.exists()).or_else(own).filter(|path: &PathBuf| Path::exists(path))
    }

    /// `helm`, which is built apart.
    #[must_use]
    pub fn helm() -> PathBuf {
        match kubernetes::HELM.find() {
            Ok(dir) => dir.join("helm"),
            Err(error) => panic!("no helm to test with: {error}"),
        }
    }
}
