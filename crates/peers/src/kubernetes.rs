//! Kubernetes programs that tests start: built from their published Go modules, with every module pinned.

use std::path::PathBuf;

use crate::cache::{CacheError, cache_root, is_complete};

/// One build of a Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoModule {
    /// Its folder in `test-servers/`.
    pub folder: &'static str,
    /// Packages to build; `.` for the folder's own.
    pub packages: &'static [&'static str],
    /// Flags for the linker beside those that leave debug information out.
    pub link: &'static str,
    /// `go.mod` and `go.sum`, which say what is built.
    pub recipe: [&'static str; 2],
}

/// Programs that share a directory of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoPrograms {
    /// Name of the directory, with the version.
    pub name: &'static str,
    /// What is built into it.
    pub modules: &'static [GoModule],
}

/// `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl`.
pub const SERVERS: GoPrograms = GoPrograms {
    name: "kubernetes-1.33.13",
    modules: &[
        GoModule {
            folder: "etcd",
            packages: &["."],
            link: "",
            recipe: [
                include_str!("../../../test-servers/etcd/go.mod"),
                include_str!("../../../test-servers/etcd/go.sum"),
            ],
        },
        GoModule {
            folder: "kubernetes",
            packages: &[
                "k8s.io/kubernetes/cmd/kube-apiserver",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                "k8s.io/kubernetes/cmd/kubectl",
            ],
            // Without these it says that it is of version 0, and clients believe it.
            link: "-X k8s.io/component-base/version.gitVersion=v1.33.13 \
                   -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=33",
            recipe: [
                include_str!("../../../test-servers/kubernetes/go.mod"),
                include_str!("../../../test-servers/kubernetes/go.sum"),
            ],
        },
    ],
};

/// `helm`.
pub const HELM: GoPrograms = GoPrograms {
    name: "helm-3.21.4",
    modules: &[GoModule {
        folder: "helm",
        packages: &["helm.sh/helm/v3/cmd/helm"],
        link: "-X helm.sh/helm/v3/internal/version.version=v3.21.4 \
               -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=33",
        recipe: [include_str!("../../../test-servers/helm/go.mod"), include_str!("../../../test-servers/helm/go.sum")],
    }],
};

/// Why programs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotBuilt {
    /// They were never built, half built, or built from other modules.
    #[error("{name} is not built in {path}: install Go 1.24 or newer and run `cargo xtask setup`")]
    Missing {
        /// Name and version.
        name: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no cache to look in.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl GoPrograms {
    /// Where they belong, built or not.
    pub fn path(&self) -> Result<PathBuf, CacheError> {
        Ok(cache_root()?.join(self.name))
    }

    /// What they are made from; another recipe means another build.
    #[must_use]
    pub fn recipe(&self) -> String {
        let parts = self
            .modules
            .iter()
            .flat_map(|module| module.packages.iter().copied().chain([module.link]).chain(module.recipe));
        parts.collect::<Vec<_>>().join("\n")
    }

    /// The directory of the built programs.
    pub fn find(&self) -> Result<PathBuf, NotBuilt> {
        let path = self.path()?;
        if is_complete(&path, &self.recipe()) { Ok(path) } else { Err(NotBuilt::Missing { name: self.name, path }) }
    }
}
