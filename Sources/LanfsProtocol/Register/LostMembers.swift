/// What a server says of the members, to a client that asked all of them just now.
public struct MemberReport: Sendable {
    public var server: ServerID
    /// `nil`: it has not heard who they are.
    public var membership: MembershipStatus?

    public init(server: ServerID, membership: MembershipStatus?) {
        self.server = server
        self.membership = membership
    }
}

/// What becomes of servers that stay away (M1, B5), in ordinary commits of whoever holds the lease: one that is lost takes
/// no new blocks; one that answers again is like any other; and one that nobody needs any more, which a ``CopyProof``
/// tells (B6), is taken off the list. A disk that was replaced comes back under a new identity, so this is how the old
/// one goes; a server that was only away for long is a stranger then, and joins like one.
extension VolumeConfig {
    /// The members that more than half of the active ones hold for lost, and that did not answer.
    ///
    /// - Parameter known: the version by which the servers know these members: a seal (M2) makes it another, and they hear
    ///   of that with the commit after it.
    public func lost(by reports: [MemberReport], known: UInt64? = nil) -> [ServerID] {
        let active = servers.filter { $0.state == .active }
        // Older opinions are of another majority (B5).
        let judges = reports.filter { report in
            report.membership?.configVersion == known ?? version && active.contains { $0.server == report.server }
        }
        return active.map(\.server).filter { server in
            guard !reports.contains(where: { $0.server == server }) else { return false }
            let votes = judges.count { judge in
                judge.membership?.members.contains { $0.server == server && $0.health == .lost } ?? false
            }
            return votes * 2 > active.count
        }
    }

    /// This config as it should be after these reports, in all but its version.
    public func following(_ reports: [MemberReport], known: UInt64? = nil) -> VolumeConfig {
        var next = self
        for index in servers.indices where servers[index].state == .lost {
            if reports.contains(where: { $0.server == servers[index].server }) { next.servers[index].state = .active }
        }
        for server in lost(by: reports, known: known) {
            guard let index = place(of: server) else { continue }
            // W stays what it is (B2): where too few are left for R copies, writers wait, or a person decides.
            let isNeeded = servers[index].takesBlocks && next.servers.count(where: \.takesBlocks) <= Int(replicas)
            if !isNeeded { next.servers[index].state = .lost }
        }
        return next
    }

    /// The lost members that need not be listed once every block is proven to be elsewhere. A keeper has to give up its seat
    /// first (M2).
    public var dispensable: [ServerID] {
        servers.filter { $0.state == .lost && !keepers.members.contains($0.server) }.map(\.server)
    }

    /// Takes those off the list, all but the version.
    public mutating func removeDispensable(by proof: CopyProof) {
        guard proof.isComplete, proof.configVersion == version else { return }
        let members = dispensable
        servers.removeAll { members.contains($0.server) }
    }
}
