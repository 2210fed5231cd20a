//! A client of xenstore that reads: by the daemon's socket, or by the kernel's device.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;

use hypervisor_abi::xenstore;
use hypervisor_abi::xenstore::MessageHeader;
use hypervisor_abi::xenstore::PAYLOAD_MAX;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

use crate::device;
use crate::error::XenError;

/// The daemon's socket.
const SOCKET: &str = "/run/xenstored/socket";
/// The kernel's device, where the daemon runs in another domain.
const XENBUS: &str = "/dev/xen/xenbus";
/// How many messages that were not asked for are passed over before an answer.
const PASSED_OVER: u32 = 1000;

/// A connection that carries messages.
trait Connection: Read + Write + Send {}

impl Connection for UnixStream {}
impl Connection for File {}
#[cfg(test)]
impl Connection for tests::Canned {}

/// A connection to xenstore.
pub struct XenStore {
    connection: Box<dyn Connection>,
    requests: u32,
}

impl std::fmt::Debug for XenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "XenStore({} requests)", self.requests)
    }
}

impl XenStore {
    /// Connects to the daemon's socket, or opens the device.
    ///
    /// # Errors
    /// Those of the device, if there is no socket either: [`XenError::NoDevice`], [`XenError::NotRoot`] or [`XenError::Device`].
    pub fn open() -> Result<Self, XenError> {
        let connection: Box<dyn Connection> = match UnixStream::connect(SOCKET) {
            Ok(socket) => Box::new(socket),
            Err(_) => Box::new(device::open(XENBUS)?),
        };
        Ok(Self { connection, requests: 0 })
    }

    /// The value at a path; `None` if there is none.
    ///
    /// # Errors
    /// [`XenError::XenStore`] or [`XenError::Device`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, XenError> {
        let value = self.ask(xenstore::XS_READ, path)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// The names below a path; none if there is no such path.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, XenError> {
        let names = self.ask(xenstore::XS_DIRECTORY, path)?.unwrap_or_default();
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// A request about a path, and its answer; `None` for "there is no such path".
    fn ask(&mut self, kind: u32, path: &str) -> Result<Option<Vec<u8>>, XenError> {
        let failed = |source| XenError::Device { what: format!("xenstore cannot be asked for {path}"), source };
        let refused = |error: &str| XenError::XenStore { path: path.to_owned(), error: error.to_owned() };
        // A path that holds a zero would be two to the daemon.
        if path.len() >= PAYLOAD_MAX || path.contains('\0') {
            return Err(refused("EINVAL"));
        }
        self.requests = self.requests.wrapping_add(1);
        let len = u32::try_from(path.len() + 1).map_err(|_| refused("EINVAL"))?;
        let mut message = MessageHeader { kind, req_id: self.requests, tx_id: 0, len }.as_bytes().to_vec();
        message.extend_from_slice(path.as_bytes());
        message.push(0);
        self.connection.write_all(&message).map_err(failed)?;
        for _ in 0..PASSED_OVER {
            let (header, payload) = self.receive().map_err(failed)?;
            if header.kind == xenstore::XS_WATCH_EVENT || header.req_id != self.requests {
                continue;
            }
            if header.kind != xenstore::XS_ERROR {
                return Ok(Some(payload));
            }
            let error = String::from_utf8_lossy(&payload);
            return match error.trim_end_matches('\0') {
                "ENOENT" => Ok(None),
                error => Err(refused(error)),
            };
        }
        Err(failed(io::Error::other("it answers other requests only")))
    }

    fn receive(&mut self) -> io::Result<(MessageHeader, Vec<u8>)> {
        let mut bytes = [0; size_of::<MessageHeader>()];
        self.connection.read_exact(&mut bytes)?;
        let header = MessageHeader::read_from_bytes(&bytes).expect("as many bytes as it has");
        let len = header.len as usize;
        if len > PAYLOAD_MAX {
            return Err(io::Error::other(format!("a message of {len} bytes")));
        }
        let mut payload = vec![0; len];
        self.connection.read_exact(&mut payload)?;
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::io::Cursor;
    use std::io::Read;
    use std::io::Write;

    use hypervisor_abi::xenstore::MessageHeader;
    use zerocopy::IntoBytes as _;

    use super::XenStore;
    use crate::error::XenError;

    /// Answers that were written down before.
    pub(super) struct Canned {
        answers: Cursor<Vec<u8>>,
    }

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn store(answers: &[(u32, u32, &[u8])]) -> XenStore {
        let mut bytes = Vec::new();
        for (kind, req_id, payload) in answers {
            let len = u32::try_from(payload.len()).expect("a short answer");
            bytes.extend_from_slice(MessageHeader { kind: *kind, req_id: *req_id, tx_id: 0, len }.as_bytes());
            bytes.extend_from_slice(payload);
        }
        XenStore { connection: Box::new(Canned { answers: Cursor::new(bytes) }), requests: 0 }
    }

    #[test]
    fn values_and_names_are_read_and_what_was_not_asked_for_is_passed_over() {
        let mut store = store(&[(15, 0, b"@releaseDomain\0x\0"), (2, 1, b"guest"), (1, 2, b"0\x007\0"), (1, 3, b"")]);
        assert_eq!(store.read("/local/domain/1/name").expect("a value").as_deref(), Some("guest"));
        assert_eq!(store.list("/local/domain").expect("names"), ["0", "7"]);
        assert!(store.list("/local/domain/9").expect("no names").is_empty());
    }

    #[test]
    fn what_is_not_there_is_none_and_what_is_forbidden_is_an_error() {
        let mut store = store(&[(16, 1, b"ENOENT\0"), (16, 2, b"EACCES\0")]);
        assert_eq!(store.read("/x").expect("an answer"), None);
        assert_eq!(store.read("/y").unwrap_err().to_string(), "xenstore refuses /y: EACCES");
        assert!(matches!(store.read("/a\0b").unwrap_err(), XenError::XenStore { .. }));
    }

    #[test]
    fn an_answer_that_is_too_long_or_cut_short_is_an_error() {
        let mut long = store(&[(2, 1, &[b'x'; 5000])]);
        assert!(matches!(long.read("/x").unwrap_err(), XenError::Device { .. }));
        let mut none = store(&[]);
        assert!(matches!(none.read("/x").unwrap_err(), XenError::Device { .. }));
    }
}
