import LanfsProtocol

/// Servers that stay away (M1): the client that may write notes it in the config, and takes off the list those that nobody
/// needs any more. `VolumeConfig.following` and `CopyProof` decide.
extension Volume {
    /// What the servers say that are there.
    func memberReports() async throws(VolumeError) -> [MemberReport] {
        try await blocks.statuses().map { MemberReport(server: $0.lane.server, membership: $0.status.membership) }
    }

    /// Nothing new is placed on servers that are lost; on those that are back it is.
    func followLosses(_ reports: [MemberReport]) async throws(VolumeError) {
        let record = current { $0.chain.record }
        let before = record.newestConfig
        try await changeServers { next in
            next = next.following(reports, known: next.version == before.version ? record.config.version : nil)
        }
        let after = current { $0.chain.record.newestConfig }
        for member in after.servers {
            guard let old = before.servers.first(where: { $0.server == member.server }), old.state != member.state else { continue }
            let name = servers.name(of: member.server)
            switch (old.state, member.state) {
            case (.active, .lost):
                log.notice("the server \(name) has been away for long: the others take its place")
            case (.lost, .active): log.notice("the server \(name) is back and takes its place again")
            default: break
            }
        }
    }

    /// Takes lost servers off the list once the others have every block (B6). A scan of the whole volume is not begun while
    /// copies are known to be missing.
    func removeLostServers() async throws(VolumeError) {
        let config = current { $0.chain.record.newestConfig }
        let leaving = config.dispensable
        guard !leaving.isEmpty else { return }
        let reports = try await memberReports()
        let isRepaired = config.servers.allSatisfy { member in
            guard member.takesBlocks else { return true }
            let membership = reports.first { $0.server == member.server }?.membership
            return membership.map { $0.copiesWaiting + $0.copiesUnderWay == 0 } ?? false
        }
        // One that the others hear again takes its place as soon as it is heard here as well.
        let isBack = reports.contains { report in
            report.membership?.members.contains { leaving.contains($0.server) && $0.health != .lost } ?? false
        }
        guard isRepaired, !isBack else { return }
        var proof = CopyProof(of: config)
        // What lacked copies may have died meanwhile: the second root tells.
        for _ in 0..<2 where !proof.isComplete {
            guard try await advance(&proof) else { return }
        }
        guard proof.isComplete else {
            return log.debug("\(proof.lacking.count) blocks lack copies: lost servers stay on the list for now")
        }
        try await changeServers { $0.removeDispensable(by: proof) }
        let rest = current { $0.chain.record.newestConfig }
        for server in leaving where !rest.servers.contains(where: { $0.server == server }) {
            log.notice("the server \(servers.name(of: server)) is gone, and nothing with it: it is no member of the volume any more")
        }
    }
}
