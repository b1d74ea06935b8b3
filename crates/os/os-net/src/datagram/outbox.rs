//! Sending trains: as few system calls as the kernel allows.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use rustix::io::Errno;

use super::Train;
use super::address::RawAddress;
use super::control::{SendRoom, Writer};

/// Most messages in one `sendmmsg`, and most parts of all of them.
const MESSAGES_MAX: usize = 64;

/// Messages for which little room is cleared.
const FEW_MESSAGES: usize = 4;

/// Most datagrams that are put together for one segmented send. The kernel's limit is 64 before version 6.9, 128 since;
/// a train that came as one is not cut.
const SEGMENTS_MAX: usize = 64;

/// Most bytes that are put together for one segmented send: the largest IP packet without its headers, IPv6's being the
/// larger ones.
const MESSAGE_BYTES_MAX: usize = u16::MAX as usize - 48;

/// A train and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departing<'a> {
    /// The destination; `None` for the peer of a connected socket.
    pub to: Option<SocketAddr>,
    /// The local address to send from, if the kernel shall not choose.
    pub from: Option<IpAddr>,
    /// The datagrams.
    pub train: Train<'a>,
}

/// How far a send got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Trains that the kernel took as a whole, counted from the front.
    pub trains: usize,
    /// Datagrams that it took of the train behind those.
    pub datagrams: usize,
    /// Why it stopped there.
    pub ended: Ended,
}

/// Why a send stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All trains went out.
    Done,
    /// The kernel's buffer is full: wait until the socket is writable and send the rest.
    Blocked,
    /// The kernel refused the next datagram; those behind it were not tried.
    Refused(Errno),
}

/// What a send needs to know of its socket.
pub(super) struct Outlet<'a> {
    pub(super) socket: RawFd,
    /// Whether the socket is one of IPv4.
    pub(super) v4: bool,
    /// Whether the kernel may be given several datagrams as one; taken away where the card cannot.
    pub(super) segmentation: &'a Cell<bool>,
}

impl Outlet<'_> {
    /// Sends trains in order.
    pub(super) fn send(&self, trains: &[Departing<'_>]) -> Sent {
        let mut done = 0;
        while let Some(rest) = trains.get(done..).filter(|rest| !rest.is_empty()) {
            let segmentation = self.segmentation.get();
            let batch = Batch::gather(rest, segmentation);
            if batch.messages == 0 {
                // Several datagrams as one are not possible here.
                match self.send_pieces(rest.first()) {
                    (_, Ended::Done) => done += 1,
                    (datagrams, ended) => return Sent { trains: done, datagrams, ended },
                }
                continue;
            }
            let (taken, error) = batch.send(self, rest);
            done += taken;
            let Some(errno) = error else { continue };
            let segmented = batch.was_segmented_at(taken, rest);
            let unsegmentable = matches!(errno, Errno::IO | Errno::INVAL | Errno::MSGSIZE);
            let (datagrams, ended) = if segmented && unsegmentable {
                // The card cannot, the datagrams are above the path's MTU, or there are more than this kernel takes.
                // What was put together is refused as a whole: its first train goes in pieces, the next ones are tried.
                if errno == Errno::IO {
                    self.segmentation.set(false);
                }
                self.send_pieces(trains.get(done))
            } else if errno == Errno::AGAIN {
                (0, Ended::Blocked)
            } else {
                (0, Ended::Refused(errno))
            };
            match ended {
                Ended::Done => done += 1,
                ended => return Sent { trains: done, datagrams, ended },
            }
        }
        Sent { trains: done, datagrams: 0, ended: Ended::Done }
    }

    /// Sends the datagrams of one train without segmentation; returns how many went out.
    fn send_pieces(&self, departing: Option<&Departing<'_>>) -> (usize, Ended) {
        let Some(departing) = departing else { return (0, Ended::Done) };
        let class = departing.train.traffic_class();
        let mut single = [Departing { train: Train::new(&[], 0, class), ..*departing }; MESSAGES_MAX];
        let mut sent = 0;
        while let Some(rest) = departing.train.without_first(sent) {
            let mut count = 0;
            for (place, bytes) in single.iter_mut().zip(rest.iter()) {
                place.train = Train::new(bytes, 0, class);
                count += 1;
            }
            let singles = single.get(..count).unwrap_or_default();
            let (taken, error) = Batch::gather(singles, false).send(self, singles);
            sent += taken;
            match error {
                None => {}
                Some(Errno::AGAIN) => return (sent, Ended::Blocked),
                Some(errno) => return (sent, Ended::Refused(errno)),
            }
        }
        (sent, Ended::Done)
    }
}

/// Which trains go together into one message each.
struct Batch {
    /// Number of trains of each message; used up to `messages`.
    trains: [u8; MESSAGES_MAX],
    /// Bytes of each datagram of a message but its last.
    segments: [u16; MESSAGES_MAX],
    messages: usize,
}

impl Batch {
    /// Puts trains of one destination together while their datagrams have one size. Only the last of a message may be
    /// shorter. Without segmentation it ends before the first train of several datagrams.
    fn gather(trains: &[Departing<'_>], segmentation: bool) -> Self {
        let mut batch = Self { trains: [0; MESSAGES_MAX], segments: [0; MESSAGES_MAX], messages: 0 };
        let mut last: Option<(&Departing<'_>, Filled)> = None;
        for departing in trains.iter().take(MESSAGES_MAX) {
            let train = &departing.train;
            if !segmentation && train.datagrams() > 1 {
                break;
            }
            let joined = last.filter(|_| segmentation).and_then(|(previous, filled)| {
                let same = (previous.to, previous.from, previous.train.traffic_class())
                    == (departing.to, departing.from, train.traffic_class());
                same.then(|| filled.with(train)).flatten()
            });
            if let Some(filled) = joined {
                batch.trains[batch.messages - 1] += 1;
                last = Some((departing, filled));
            } else {
                batch.trains[batch.messages] = 1;
                batch.segments[batch.messages] = u16::try_from(train.segment_bytes()).unwrap_or(u16::MAX);
                batch.messages += 1;
                last = Some((departing, Filled::first(train)));
            }
        }
        batch
    }

    /// Whether the message that begins with train number `train` has several datagrams.
    fn was_segmented_at(&self, train: usize, trains: &[Departing<'_>]) -> bool {
        let mut before = 0;
        for &count in self.trains.iter().take(self.messages) {
            if before == train {
                return count > 1 || trains.get(train).is_some_and(|first| first.train.datagrams() > 1);
            }
            before += usize::from(count);
        }
        false
    }

    /// Sends the messages; returns how many trains went out, and the error of the message behind them.
    fn send(&self, outlet: &Outlet<'_>, trains: &[Departing<'_>]) -> (usize, Option<Errno>) {
        // Clearing room for 64 messages costs a tenth of a send.
        if self.messages <= FEW_MESSAGES {
            self.send_in::<FEW_MESSAGES>(outlet, trains)
        } else {
            self.send_in::<MESSAGES_MAX>(outlet, trains)
        }
    }

    fn send_in<const ROOM: usize>(&self, outlet: &Outlet<'_>, trains: &[Departing<'_>]) -> (usize, Option<Errno>) {
        let mut names = [RawAddress::empty(); ROOM];
        let mut rooms: [SendRoom; ROOM] = [[0; 12]; ROOM];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MESSAGES_MAX];
        // SAFETY: all zeroes is a valid array of `mmsghdr` without names, parts and control.
        let mut headers: [libc::mmsghdr; ROOM] = unsafe { MaybeUninit::zeroed().assume_init() };
        for (part, departing) in parts.iter_mut().zip(trains) {
            let bytes = departing.train.bytes();
            // The kernel only reads through this pointer.
            *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        let mut first = 0;
        let messages = self.trains.iter().zip(&self.segments).take(self.messages);
        for ((&count, &segment), ((header, name), room)) in
            messages.zip(headers.iter_mut().zip(&mut names).zip(&mut rooms))
        {
            let count = usize::from(count);
            let (Some(departing), Some(parts)) = (trains.get(first), parts.get_mut(first..first + count)) else {
                break;
            };
            first += count;
            let header = &mut header.msg_hdr;
            if let Some(to) = departing.to {
                let (raw, length) = RawAddress::of(to);
                *name = raw;
                header.msg_name = std::ptr::from_mut(name).cast();
                header.msg_namelen = length;
            }
            header.msg_iov = parts.as_mut_ptr();
            header.msg_iovlen = count;
            let segment = (count > 1 || departing.train.datagrams() > 1).then_some(segment);
            let used = describe(room, departing, segment, outlet.v4);
            if used > 0 {
                header.msg_control = room.as_mut_ptr().cast();
                header.msg_controllen = used;
            }
        }
        let mut sent = 0;
        let error = loop {
            let Some(rest) = headers.get_mut(sent..self.messages).filter(|rest| !rest.is_empty()) else { break None };
            let length = rest.len() as libc::c_uint;
            // SAFETY: names, rooms, parts and the trains' bytes outlive the call, with their true sizes; the kernel
            // writes only the lengths in the headers.
            let count = unsafe { libc::sendmmsg(outlet.socket, rest.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
            match usize::try_from(count) {
                Ok(count) if count > 0 => sent += count,
                _ => match Errno::from_io_error(&std::io::Error::last_os_error()) {
                    Some(Errno::INTR) => {}
                    errno => break Some(errno.unwrap_or(Errno::IO)),
                },
            }
        };
        (self.trains.iter().take(sent).map(|&count| usize::from(count)).sum(), error)
    }
}

/// What a message holds while it is put together.
#[derive(Clone, Copy)]
struct Filled {
    segment: usize,
    bytes: usize,
    datagrams: usize,
    /// Whether the last datagram has full size, so that another may follow.
    open: bool,
}

impl Filled {
    fn first(train: &Train<'_>) -> Self {
        let (segment, bytes) = (train.segment_bytes(), train.bytes().len());
        Self { segment, bytes, datagrams: train.datagrams(), open: bytes > 0 && bytes.is_multiple_of(segment) }
    }

    /// The message with one train more, if it may stand there.
    fn with(self, train: &Train<'_>) -> Option<Self> {
        let segment = train.segment_bytes();
        let size_fits = segment == self.segment || (segment < self.segment && train.datagrams() == 1);
        let bytes = self.bytes + train.bytes().len();
        let datagrams = self.datagrams + train.datagrams();
        let small = bytes <= MESSAGE_BYTES_MAX && datagrams <= SEGMENTS_MAX && !train.bytes().is_empty();
        (self.open && size_fits && small).then_some(Self {
            segment: self.segment,
            bytes,
            datagrams,
            open: bytes.is_multiple_of(self.segment),
        })
    }
}

/// Writes the control messages; returns their bytes.
fn describe(room: &mut SendRoom, departing: &Departing<'_>, segment: Option<u16>, v4_socket: bool) -> usize {
    let class = departing.train.traffic_class();
    let mut writer = Writer::new(room);
    if let Some(segment) = segment {
        writer.segment(segment);
    }
    if class != 0 {
        let mapped = matches!(departing.to, Some(SocketAddr::V6(to)) if to.ip().to_ipv4_mapped().is_some());
        writer.traffic_class(class, v4_socket || mapped);
    }
    if let Some(from) = departing.from {
        writer.source(from);
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(trains: &[Departing<'_>], segmentation: bool) -> Vec<(usize, usize)> {
        let batch = Batch::gather(trains, segmentation);
        let pair = |index: usize| (usize::from(batch.trains[index]), usize::from(batch.segments[index]));
        (0..batch.messages).map(pair).collect()
    }

    fn departing(bytes: &[u8], segment: usize, port: u16) -> Departing<'_> {
        let to = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Departing { to, from: None, train: Train::new(bytes, segment, 0) }
    }

    #[test]
    fn trains_of_one_size_and_destination_become_one_message() {
        let bytes = [0; 4000];
        let one = departing(&bytes[..1000], 0, 1);
        let two = departing(&bytes[..2000], 1000, 1);
        let short = departing(&bytes[..10], 0, 1);
        let other = departing(&bytes[..1000], 0, 2);
        assert_eq!(sizes(&[one, two, one, short, one], true), [(4, 1000), (1, 1000)]);
        assert_eq!(sizes(&[one, other, one], true), [(1, 1000); 3]);
        // A datagram larger than the ones before it begins a message.
        assert_eq!(sizes(&[short, one], true), [(1, 10), (1, 1000)]);
        assert_eq!(sizes(&[one, departing(&[], 0, 1), one], true), [(1, 1000), (1, 1), (1, 1000)]);
        assert_eq!(sizes(&[one, one, two], false), [(1, 1000); 2]);
        assert_eq!(sizes(&[two, one], false), []);
    }

    #[test]
    fn a_message_holds_no_more_than_the_kernel_takes() {
        let bytes = [0; 60_000];
        let small = [departing(&bytes[..10], 0, 1); 64];
        assert_eq!(sizes(&small, true), [(64, 10)]);
        let large = [departing(&bytes[..30_000], 0, 1); 3];
        assert_eq!(sizes(&large, true), [(2, 30_000), (1, 30_000)]);
        let train = [departing(&bytes[..40], 1, 1); 2];
        assert_eq!(sizes(&train, true), [(1, 1); 2]);
    }
}
