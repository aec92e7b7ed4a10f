//! The machine that the drivers of one instance share: its disks, its sizes, and whether it runs.
use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Mutex,
};

use tempfile::TempDir;
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use crate::{DriverError, DriverLog, storage::Resources};

use super::{
    cloud_init,
    command::{self, Images, Launch},
    config::Settings,
    guardian::Guardian,
    image::Image,
    program,
    vm::{Places, Vm},
};

/// Longest path of a Unix socket on Linux.
const MAX_SOCKET: usize = 107;

/// What an image can be flashed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Partition {
    /// The disk that the machine starts from.
    Root,
    /// Firmware in place of the usual one.
    Bios,
    /// UEFI firmware.
    OvmfCode,
    /// Initial content of the firmware's variables.
    OvmfVars,
}

impl Partition {
    const ALL: [Self; 4] = [Self::Root, Self::Bios, Self::OvmfCode, Self::OvmfVars];

    /// Its name in calls and configurations, which is also its file's.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Bios => "bios",
            Self::OvmfCode => "OVMF_CODE.fd",
            Self::OvmfVars => "OVMF_VARS.fd",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|partition| partition.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("invalid partition name '{}', there are {known}", name.escape_debug())
        })
    }
}

/// Where a partition's content is.
pub(super) enum Content {
    /// A client flashed it in this session.
    Flashed(PathBuf),
    /// The operator's file.
    Default(PathBuf),
}

impl Content {
    pub(super) fn into_path(self) -> PathBuf {
        match self {
            Self::Flashed(path) | Self::Default(path) => path,
        }
    }
}

/// One virtual machine for one session. Everything that it writes is in a directory that goes with it.
pub(super) struct Machine {
    pub(super) settings: Settings,
    pub(super) log: DriverLog,
    pub(super) resources: Resources,
    dir: TempDir,
    sizes: Mutex<Sizes>,
    state: AsyncMutex<State>,
    instance: Uuid,
}

#[derive(Clone, Copy)]
struct Sizes {
    memory: u64,
    disk: Option<u64>,
}

#[derive(Default)]
struct State {
    vm: Option<Vm>,
    guardian: Option<Guardian>,
    closed: bool,
}

impl Machine {
    pub(super) fn new(settings: Settings, log: DriverLog, resources: Resources) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("jumpstarter-qemu-").tempdir();
        let dir = dir.map_err(|err| format!("make a directory for the virtual machine: {err}"))?;
        let socket = dir.path().join("qmp");
        if socket.as_os_str().len() > MAX_SOCKET {
            let path = socket.display();
            return Err(format!("sockets in '{path}' would have too long a path: set TMPDIR to a shorter one"));
        }
        let sizes = Mutex::new(Sizes { memory: settings.mem, disk: settings.disk_size });
        let instance = Uuid::new_v4();
        Ok(Self { settings, log, resources, dir, sizes, state: AsyncMutex::default(), instance })
    }

    /// A file of the machine.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// From the next start on.
    pub(super) fn set_disk_size(&self, bytes: u64) {
        self.sizes.lock().expect("no code panics while it holds the sizes").disk = Some(bytes);
    }

    /// From the next start on.
    pub(super) fn set_memory_size(&self, bytes: u64) {
        self.sizes.lock().expect("no code panics while it holds the sizes").memory = bytes;
    }

    fn sizes(&self) -> Sizes {
        *self.sizes.lock().expect("no code panics while it holds the sizes")
    }

    /// What `partition` holds; none when nothing was flashed and the operator gave nothing.
    ///
    /// # Errors
    /// When the operator's file is missing.
    pub(super) fn content(&self, partition: Partition) -> Result<Option<Content>, DriverError> {
        let name = partition.as_str();
        let flashed = self.path(name);
        if flashed.exists() {
            return Ok(Some(Content::Flashed(flashed)));
        }
        match self.settings.default_partitions.get(&partition) {
            None => Ok(None),
            Some(path) if path.exists() => Ok(Some(Content::Default(path.clone()))),
            Some(path) => Err(DriverError::Other(format!(
                "the image '{}' that the exporter's configuration names for partition '{name}' does not exist",
                path.display()
            ))),
        }
    }

    /// Starts the machine; one that runs is left alone.
    ///
    /// # Cancel safety
    /// A start that is given up leaves the machine off.
    pub(super) async fn on(&self) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        if state.closed {
            return Err(DriverError::Other("the session of this virtual machine is over".to_owned()));
        }
        if let Some(vm) = state.vm.take() {
            if vm.ended().is_none() {
                state.vm = Some(vm);
                self.log.warning("already powered on, ignoring request");
                return Ok(());
            }
            vm.stop().await;
        }
        let program = program::find(&self.settings.program(), program::package_of(&self.settings.arch));
        let program = program.map_err(DriverError::Other)?;
        let images = self.images().await?;
        self.check_ports()?;
        if state.guardian.is_none() {
            match Guardian::start(self.dir()) {
                Ok(guardian) => state.guardian = Some(guardian),
                Err(err) => self.log.warning(&format!("a killed exporter would leave the machine running: {err}")),
            }
        }
        let kvm = self.settings.has_kvm();
        match self.start(&mut state, &program, &images, kvm).await {
            // The device being there does not say that the processor lets guests use it.
            Err(err @ DriverError::Other(_)) if kvm => {
                self.log.warning(&format!("with KVM {err}; starting without it, much slower"));
                self.start(&mut state, &program, &images, false).await
            }
            outcome => outcome,
        }
    }

    async fn start(&self, state: &mut State, program: &Path, images: &Images, kvm: bool) -> Result<(), DriverError> {
        let places = Places { qmp: self.path("qmp"), vnc: self.path("vnc"), pty: self.path("pty") };
        let launch = Launch { kvm, memory: self.sizes().memory, qmp: &places.qmp, vnc: &places.vnc, images };
        let args = command::arguments(&self.settings, &launch);
        let (mut vm, listener) = Vm::spawn(program, &args, &places, &self.log)?;
        state.watch(vm.pid()).await;
        match vm.run(listener, &places, &self.log).await {
            Ok(()) => {
                state.vm = Some(vm);
                Ok(())
            }
            Err(err) => {
                vm.stop().await;
                state.watch(None).await;
                Err(err)
            }
        }
    }

    /// Ends the machine, for sure.
    pub(super) async fn off(&self) {
        let mut state = self.state.lock().await;
        state.off(&self.log).await;
    }

    /// Ends the machine and removes everything that it had.
    pub(super) async fn close(&self) -> Result<(), DriverError> {
        let mut state = self.state.lock().await;
        state.closed = true;
        if state.vm.is_some() {
            state.off(&self.log).await;
        }
        if let Some(guardian) = state.guardian.take() {
            guardian.end().await;
        }
        let dir = self.dir().to_owned();
        let removed = tokio::task::spawn_blocking(move || match fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err((dir, err)),
            _ => Ok(()),
        });
        match removed.await {
            Ok(Err((dir, source))) => {
                Err(DriverError::Io { message: format!("remove '{}': {source}", dir.display()), source })
            }
            _ => Ok(()),
        }
    }

    /// Looks for everything that the machine starts from, and makes it ready.
    async fn images(&self) -> Result<Images, DriverError> {
        let root = match self.content(Partition::Root)? {
            None => {
                self.log.warning("nothing was flashed to 'root': the machine starts without a disk");
                None
            }
            Some(content) => {
                let from_client = matches!(content, Content::Flashed(_));
                let mut image = Image::probe(content.into_path(), from_client).await?;
                if let Some(wanted) = self.sizes().disk {
                    image.grow(wanted, &self.log).await?;
                }
                Some(image)
            }
        };
        let file = |partition| self.content(partition).map(|content| content.map(Content::into_path));
        let bios = file(Partition::Bios)?;
        let (code, variables) = (file(Partition::OvmfCode)?, file(Partition::OvmfVars)?);
        let cloud_init = self.path("cidata");
        cloud_init::write(&cloud_init, self.instance, &self.settings).map_err(|source| DriverError::Io {
            message: format!("write what cloud-init reads to '{}': {source}", cloud_init.display()),
            source,
        })?;
        Ok(Images { root, bios, ovmf: code.zip(variables), cloud_init })
    }

    /// The emulator does not say which port is taken, and by then the machine is half made.
    fn check_ports(&self) -> Result<(), DriverError> {
        for (name, forward) in &self.settings.hostfwd {
            let (host, port) = (forward.hostaddr, forward.hostport);
            if let Err(source) = TcpListener::bind((host, port)) {
                let hint = match source.kind() {
                    io::ErrorKind::AddrInUse => "; end what listens there, or set another hostport",
                    _ => "",
                };
                let message = format!("forward '{name}' cannot listen on {host}:{port}: {source}{hint}");
                return Err(DriverError::Io { message, source });
            }
        }
        Ok(())
    }
}

impl State {
    async fn off(&mut self, log: &DriverLog) {
        match self.vm.take() {
            None => log.warning("already powered off, ignoring request"),
            Some(vm) => {
                vm.stop().await;
                self.watch(None).await;
            }
        }
    }

    /// Tells the guardian what runs now.
    async fn watch(&mut self, group: Option<u32>) {
        if let Some(guardian) = &mut self.guardian {
            guardian.watch(group).await;
        }
    }
}
