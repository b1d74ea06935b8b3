//! Receiving a batch of trains.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use super::Train;
use super::address::RawAddress;
use super::control::{self, ReceiveRoom, Received};

/// Most trains that one call of [`super::DatagramSocket::receive`] takes. What is left waits in the kernel's buffer.
pub const INBOX_TRAINS_MAX: usize = 64;

/// Bytes of one received train: the largest UDP payload there is, so that nothing is ever cut off, and some more so
/// that the buffers do not all begin at the same place of the processor's cache.
const TRAIN_ROOM_BYTES: usize = (1 << 16) + 1536;

/// One train as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address that it was sent to, if the socket was told to learn it.
    pub to: Option<IpAddr>,
    /// The datagrams.
    pub train: Train<'a>,
}

/// Buffers for receiving, about 4 MiB of which only what traffic fills becomes resident.
pub struct Inbox {
    bytes: Vec<u8>,
    names: Box<[RawAddress]>,
    rooms: Box<[ReceiveRoom]>,
    trains: Vec<Place>,
}

/// What is known of one received train beside its bytes.
#[derive(Debug, Clone, Copy)]
struct Place {
    slot: usize,
    bytes: usize,
    from: SocketAddr,
    about: Received,
}

impl Inbox {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; INBOX_TRAINS_MAX * TRAIN_ROOM_BYTES],
            names: Box::new([RawAddress::empty(); INBOX_TRAINS_MAX]),
            rooms: Box::new([[0; 24]; INBOX_TRAINS_MAX]),
            trains: Vec::with_capacity(INBOX_TRAINS_MAX),
        }
    }

    /// Number of trains of the last call.
    pub fn len(&self) -> usize {
        self.trains.len()
    }

    /// Whether the last call brought nothing.
    pub fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    /// Who sent a train of the last call, in the order of arrival.
    pub fn sender(&self, index: usize) -> Option<SocketAddr> {
        self.trains.get(index).map(|place| place.from)
    }

    /// A train of the last call, in the order of arrival.
    pub fn train(&self, index: usize) -> Option<Arrived<'_>> {
        let place = self.trains.get(index)?;
        let begin = place.slot * TRAIN_ROOM_BYTES;
        let bytes = self.bytes.get(begin..begin + place.bytes)?;
        let train = Train::new(bytes, place.about.segment_bytes, place.about.traffic_class);
        Some(Arrived { from: place.from, to: place.about.local, train })
    }

    /// All trains of the last call, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Arrived<'_>> {
        (0..self.len()).filter_map(|index| self.train(index))
    }

    /// One `recvmmsg`. Returns the number of trains.
    pub(super) fn fill(&mut self, socket: RawFd) -> io::Result<usize> {
        self.trains.clear();
        let mut chunks = self.bytes.chunks_mut(TRAIN_ROOM_BYTES);
        let mut parts: [libc::iovec; INBOX_TRAINS_MAX] = std::array::from_fn(|_| {
            let room = chunks.next().unwrap_or_default();
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len().min(1 << 16) }
        });
        // SAFETY: all zeroes is a valid array of `mmsghdr` without names, parts and control.
        let mut headers: [libc::mmsghdr; INBOX_TRAINS_MAX] = unsafe { MaybeUninit::zeroed().assume_init() };
        let places = self.names.iter_mut().zip(&mut self.rooms).zip(&mut parts);
        for (header, ((name, room), part)) in headers.iter_mut().zip(places) {
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(name).cast();
            header.msg_namelen = RawAddress::BYTES;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = room.as_mut_ptr().cast();
            header.msg_controllen = size_of::<ReceiveRoom>();
        }
        // SAFETY: names, rooms, parts and the bytes behind them outlive the call, their true sizes are given, and none is
        // shared between headers.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                INBOX_TRAINS_MAX as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (slot, (header, name)) in headers.iter().zip(&self.names).take(count).enumerate() {
            // Neither happens with these sizes; a train without its segment size would be taken for one datagram.
            let cut = header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
            let (false, Some(from)) = (cut, name.decode()) else { continue };
            // SAFETY: the kernel filled this header, and its room of the given size is alive and aligned as `u64`.
            let about = unsafe { control::read(&header.msg_hdr) };
            self.trains.push(Place { slot, bytes: header.msg_len as usize, from, about });
        }
        Ok(self.trains.len())
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("trains", &self.trains.len()).finish_non_exhaustive()
    }
}
