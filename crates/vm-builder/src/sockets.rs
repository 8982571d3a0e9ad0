use std::io;

/// A machine's connections to this process, one `T` for each: both ends of a socket, one end, or the
/// number by which QEMU inherits it.
#[derive(Debug, Clone)]
pub(crate) struct Sockets<T> {
    /// QEMU's control channel.
    pub(crate) qmp: T,
    /// The guest's serial console.
    pub(crate) console: T,
    /// The guest agent's channel.
    pub(crate) agent: T,
    /// A command's standard streams.
    pub(crate) stdin: T,
    pub(crate) stdout: T,
    pub(crate) stderr: T,
    /// The guest's Ethernet segment. A machine without it has no network card.
    pub(crate) network: Option<T>,
}

impl<T> Sockets<T> {
    /// Makes one for each connection.
    pub(crate) fn make(network: bool, mut make: impl FnMut() -> io::Result<T>) -> io::Result<Self> {
        Ok(Self {
            qmp: make()?,
            console: make()?,
            agent: make()?,
            stdin: make()?,
            stdout: make()?,
            stderr: make()?,
            network: network.then(make).transpose()?,
        })
    }

    /// A reference to each.
    pub(crate) fn each(&self) -> Sockets<&T> {
        Sockets {
            qmp: &self.qmp,
            console: &self.console,
            agent: &self.agent,
            stdin: &self.stdin,
            stdout: &self.stdout,
            stderr: &self.stderr,
            network: self.network.as_ref(),
        }
    }

    /// The same connections, each turned into something else.
    pub(crate) fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Sockets<U> {
        Sockets {
            qmp: turn(self.qmp),
            console: turn(self.console),
            agent: turn(self.agent),
            stdin: turn(self.stdin),
            stdout: turn(self.stdout),
            stderr: turn(self.stderr),
            network: self.network.map(turn),
        }
    }
}
