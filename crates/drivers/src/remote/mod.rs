//! Drivers that tell a client how to use another one: `ssh`, `vnc`.
mod ssh;
mod vnc;

use crate::{Build, Registry};

pub(crate) fn register(all: &mut Registry) {
    all.add("jumpstarter_driver_ssh.driver.SSHWrapper", |build| Ok(std::sync::Arc::new(ssh::SshWrapper::new(build)?)));
    all.add("jumpstarter_driver_vnc.driver.Vnc", |build| Ok(std::sync::Arc::new(vnc::Vnc::new(build)?)));
}

/// Both lead to a network driver.
fn require_tcp(build: &Build) -> Result<(), String> {
    if build.has_child("tcp") {
        return Ok(());
    }
    Err("the child 'tcp' is missing: give it inline (a TcpNetwork) or by `ref`".to_owned())
}
