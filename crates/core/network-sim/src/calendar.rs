//! What happens at which second.

/// Something that is to happen. Numbers with `session` or `life` say of which one; it means nothing to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An interval begins.
    Interval,
    /// Members say the time.
    Tick,
    /// A member fails.
    MemberDown(u8),
    /// It is back.
    MemberUp(u8),
    /// A relay fails, or stops.
    RelayDown(u32),
    /// It is back.
    RelayUp(u32),
    /// A relay says how it is reached.
    Describe(u32),
    /// Operators admit a relay.
    Admit(u32),
    /// Operators expel a relay.
    Expel(u32),
    /// A client's node starts.
    ClientOn(u32),
    /// It stops.
    ClientOff { client: u32, session: u32 },
    /// It asks for the document.
    Fetch { client: u32, session: u32 },
    /// It looks at its guards once more.
    Guards { client: u32, session: u32 },
    /// Its pool is looked at: it needs a tunnel.
    Build { client: u32, session: u32 },
    /// An application asks for something.
    Flow { client: u32, session: u32 },
    /// An application begins something long.
    Stream { client: u32, session: u32 },
    /// A leg that failed is to be replaced.
    Repair { tunnel: u32, life: u32 },
    /// Somebody notices that a relay is silent.
    Silent { tunnel: u32, life: u32, relay: u32 },
    /// A tunnel has had its time.
    LifeEnds { tunnel: u32, life: u32 },
}

/// Events by second, each second in the order in which they were written down.
#[derive(Debug)]
pub(crate) struct Calendar {
    seconds: Vec<Vec<Event>>,
}

impl Calendar {
    /// Up to, and without, a second.
    pub(crate) fn new(end_s: u32) -> Self {
        Self { seconds: vec![Vec::new(); end_s as usize] }
    }

    /// Writes down; what is later than the end never happens.
    pub(crate) fn add(&mut self, at_s: u32, event: Event) {
        if let Some(second) = self.seconds.get_mut(at_s as usize) {
            second.push(event);
        }
    }

    /// Takes what is due, the first one first. What is added to this second meanwhile is there when it is asked again.
    pub(crate) fn take(&mut self, at_s: u32) -> Vec<Event> {
        self.seconds.get_mut(at_s as usize).map(std::mem::take).unwrap_or_default()
    }
}
