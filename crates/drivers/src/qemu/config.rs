//! What the configuration says about a machine.
use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, time::Duration};

use rustix::{
    fs::{Access, access},
    system::uname,
};
use serde_json::{Map, Value};

use crate::{Build, args::kind, keys::ConfigKeys};

use super::{machine::Partition, size};

/// The system's device for vsocks of guests.
const VHOST_VSOCK: &str = "/dev/vhost-vsock";
/// 0 to 2 are taken, and so is the highest number.
const FIRST_CID: u32 = 3;

/// A configuration without faults.
pub(super) struct Settings {
    pub(super) arch: String,
    pub(super) cpu: Option<String>,
    pub(super) smp: u32,
    /// Bytes at the start of the session.
    pub(super) mem: u64,
    /// Bytes at the start of the session; none: as large as the image.
    pub(super) disk_size: Option<u64>,
    pub(super) hostname: String,
    pub(super) username: String,
    pub(super) password: String,
    /// Files of the operator that stand in for what was not flashed.
    pub(super) default_partitions: BTreeMap<Partition, PathBuf>,
    pub(super) hostfwd: Vec<(String, Forward)>,
    pub(super) fls: Fls,
    /// The guest's vsock address, where the host has vsocks.
    pub(super) cid: Option<u32>,
}

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) hostaddr: Ipv4Addr,
    pub(super) hostport: u16,
    pub(super) guestport: u16,
}

/// Where the tool for container images comes from.
pub(super) struct Fls {
    pub(super) version: Option<String>,
    pub(super) custom_url: Option<String>,
    pub(super) allow_custom: bool,
    pub(super) timeout: Duration,
}

impl Settings {
    pub(super) fn new(build: &mut Build) -> Result<Self, String> {
        let mut keys = build.keys();
        let arch = keys.or("arch", machine());
        if arch.is_empty() || !arch.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            keys.fault("arch", "must be the name of an architecture, such as x86_64 or aarch64");
        }
        let cpu = keys.option("cpu");
        let smp = keys.or("smp", 2);
        if smp == 0 {
            keys.fault("smp", "a machine has at least one processor");
        }
        let mem = keys.or("mem", "512M".to_owned());
        let mem = size::parse(&mem).unwrap_or_else(|fault| {
            keys.fault("mem", &fault);
            0
        });
        let disk_size = keys.option::<String>("disk_size").and_then(|text| match size::parse(&text) {
            Ok(bytes) => Some(bytes),
            Err(fault) => {
                keys.fault("disk_size", &fault);
                None
            }
        });
        let (hostname, username, password) = (
            keys.or("hostname", "demo".to_owned()),
            keys.or("username", "jumpstarter".to_owned()),
            keys.or("password", "password".to_owned()),
        );
        let default_partitions = partitions(&mut keys);
        let hostfwd = forwards(&mut keys);
        let fls = Fls {
            version: keys.option::<String>("fls_version").filter(|text| !text.is_empty()),
            custom_url: keys.option::<String>("fls_custom_binary_url").filter(|text| !text.is_empty()),
            allow_custom: keys.or("fls_allow_custom_binaries", false),
            timeout: Duration::from_secs(keys.or("flash_timeout", 30 * 60)),
        };
        keys.end()?;
        let cid = has_vsock().then(|| FIRST_CID + uuid::Uuid::new_v4().as_fields().0 % (u32::MAX - 1 - FIRST_CID));
        Ok(Self { arch, cpu, smp, mem, disk_size, hostname, username, password, default_partitions, hostfwd, fls, cid })
    }

    /// The emulator.
    pub(super) fn program(&self) -> String {
        format!("qemu-system-{}", self.arch)
    }

    /// The host can run the guest's instructions itself.
    pub(super) fn has_kvm(&self) -> bool {
        self.arch == machine() && access("/dev/kvm", Access::READ_OK | Access::WRITE_OK).is_ok()
    }
}

/// The host's architecture, as its kernel calls it.
pub(super) fn machine() -> String {
    uname().machine().to_string_lossy().into_owned()
}

fn has_vsock() -> bool {
    access(VHOST_VSOCK, Access::READ_OK | Access::WRITE_OK).is_ok()
}

fn partitions(keys: &mut ConfigKeys) -> BTreeMap<Partition, PathBuf> {
    let written: BTreeMap<String, PathBuf> = keys.or("default_partitions", BTreeMap::new());
    let mut found = BTreeMap::new();
    for (name, path) in written {
        match Partition::parse(&name) {
            Ok(partition) => drop(found.insert(partition, path)),
            Err(fault) => keys.fault("default_partitions", &fault),
        }
    }
    found
}

fn forwards(keys: &mut ConfigKeys) -> Vec<(String, Forward)> {
    let written: Map<String, Value> = keys.or("hostfwd", Map::new());
    let mut found = Vec::new();
    for (name, value) in written {
        let Value::Object(map) = value else {
            keys.fault("hostfwd", &format!("'{name}' must be a mapping, got {}", kind(&value)));
            continue;
        };
        let mut inner = ConfigKeys::new(map);
        let protocol = inner.or("protocol", "tcp".to_owned());
        let forward = Forward {
            hostaddr: inner.or("hostaddr", Ipv4Addr::LOCALHOST),
            hostport: inner.required("hostport"),
            guestport: inner.required("guestport"),
        };
        if protocol != "tcp" {
            inner.fault("protocol", "only tcp is forwarded");
        }
        match inner.end() {
            Err(faults) => keys.fault("hostfwd", &format!("'{name}': {faults}")),
            Ok(()) if forward.hostport == 0 || forward.guestport == 0 => {
                keys.fault("hostfwd", &format!("'{name}': ports must be 1 to 65535"));
            }
            Ok(()) => found.push((name, forward)),
        }
    }
    found
}
