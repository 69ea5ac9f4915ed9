import LanfsNetwork
import LanfsProtocol
import NIOCore

/// Questions about blocks as a whole. They go to every server of the volume.
extension BlockPool {
    /// A server that is slower than the first by so much is not waited for; less where a commit may have to wait (B3).
    private static let patience = Duration.seconds(2)
    private static let shortPatience = Duration.milliseconds(500)
    /// How long servers that are away are waited for that may be the only ones to have a block.
    private static let patienceForHolders = Duration.seconds(10)

    func free(_ blocks: [BlockID], gcEpoch: UInt64) async throws(VolumeError) {
        _ = try await askAll(.free(blocks: blocks, gcEpoch: gcEpoch), patience: Self.shortPatience)
    }

    /// What an audit found unreachable (G5).
    func sweep(_ blocks: [BlockID], gcEpoch: UInt64, cutoff: UInt64) async throws(VolumeError) {
        _ = try await askAll(.sweep(blocks: blocks, gcEpoch: gcEpoch, cutoff: cutoff))
    }

    /// G2: gives what is stored this tag, so that no sweep for an older root takes it, and copies again what too few have.
    ///
    /// - Returns: false if one of them is nowhere any more.
    func renew(_ blocks: [BlockID], gcEpoch: UInt64) async throws(VolumeError) -> Bool {
        // What is not stored yet goes with the new tag at once: with the old one a sweep may take it in between.
        for id in blocks { if let bytes = unflushed(id) { hold(SealedBlock(id: id, bytes: bytes), gcEpoch: gcEpoch) } }
        try await flush()
        let deadline = ContinuousClock.now + Self.patienceForHolders
        for start in stride(from: 0, to: blocks.count, by: 1000) {
            let ids = Array(blocks[start..<min(start + 1000, blocks.count)])
            var (changes, result) = (servers.changes.count, try await renewSome(ids, gcEpoch: gcEpoch))
            // Who is away may have what the others have not.
            while result == nil {
                guard ContinuousClock.now < deadline else { throw .noServer }
                // One that was late or refused tells of no change.
                await servers.changes.next(after: changes, until: min(deadline, .now + .seconds(1)))
                (changes, result) = (servers.changes.count, try await renewSome(ids, gcEpoch: gcEpoch))
            }
            guard result == true else { return false }
            try await flush()
        }
        return true
    }

    /// - Returns: `nil` if one of them may be where nobody answered.
    private func renewSome(_ ids: [BlockID], gcEpoch: UInt64) async throws(VolumeError) -> Bool? {
        let placement = servers.placement
        var copies: [BlockID: Int] = [:]
        let answers = try await askAll(.touch(blocks: ids, gcEpoch: gcEpoch))
        for (lane, reply) in answers {
            guard case .missing(let missing) = reply.response else { throw .damaged("the server's list of what it has not") }
            guard placement.isActive(lane.server) else { continue }
            let gone = Set(missing)
            for id in ids where !gone.contains(id) { copies[id, default: 0] += 1 }
        }
        for id in ids where copies[id, default: 0] < placement.required {
            guard let bytes = await whole(id) else { return answers.count < placement.members.count ? nil : false }
            hold(SealedBlock(id: id, bytes: bytes), gcEpoch: gcEpoch)
            try await waitForRoom()
        }
        return true
    }

    /// Blocks that are stored somewhere, in id order; none after the last. A server that is away has its turn in a later
    /// audit.
    func list(after block: BlockID?) async throws(VolumeError) -> [StoredBlock] {
        var pages: [[StoredBlock]] = []
        for (_, reply) in try await askAll(.list(after: block)) {
            guard case .listed(let blocks) = reply.response else { throw .damaged("the server's list of blocks") }
            if !blocks.isEmpty { pages.append(blocks) }
        }
        // Beyond the end of the shortest page its server may have more.
        guard pages.count > 1, let end = pages.compactMap(\.last?.block).min() else { return pages.first ?? [] }
        var merged: [BlockID: StoredBlock] = [:]
        for block in pages.joined() where block.block <= end {
            // The newest tag of all copies decides whether it may be swept (G1).
            guard let other = merged[block.block], other.gcEpoch >= block.gcEpoch else {
                merged[block.block] = block
                continue
            }
        }
        return merged.values.sorted { $0.block < $1.block }
    }

    /// What the servers that are there have together, counted in bytes of files.
    func status() async throws(VolumeError) -> ServerStatus {
        let placement = servers.placement
        let statuses = try await statuses().filter { placement.isActive($0.lane.server) }.map(\.status)
        let copies = placement.required
        return ServerStatus(
            capacity: Self.room(in: statuses.map(\.capacity), copies: copies),
            free: Self.room(in: statuses.map(\.free), copies: copies),
            usedByVolume: statuses.reduce(0) { $0 + $1.usedByVolume } / UInt64(copies),
            blocks: statuses.reduce(0) { $0 + $1.blocks } / UInt64(copies))
    }

    func statuses() async throws(VolumeError) -> [(lane: ServerLane, status: ServerStatus)] {
        var statuses: [(lane: ServerLane, status: ServerStatus)] = []
        for (lane, reply) in try await askAll(.status, patience: Self.shortPatience) {
            guard case .status(let status) = reply.response else { throw .damaged("the server's answer about its room") }
            statuses.append((lane, status))
        }
        return statuses
    }

    /// How much fits when each byte takes room on so many different servers: what one has beyond its share is of no use.
    static func room(in servers: [UInt64], copies: Int) -> UInt64 {
        var copies = UInt64(max(1, min(copies, servers.count)))
        var sum = servers.reduce(UInt64(0)) { $0.addingReportingOverflow($1).overflow ? .max : $0 + $1 }
        for room in servers.sorted(by: >) where copies > 1 {
            guard room > sum / copies else { break }
            sum -= room
            copies -= 1
        }
        return sum / copies
    }

    /// Asks every server that is there; with one server, waits for it. Answers once all have, or the slow ones are given up.
    private func askAll(
        _ request: Request, patience: Duration = patience
    ) async throws(VolumeError) -> [(ServerLane, Reply)] {
        if let alone = servers.alone { return [(alone, try await ask(request, of: alone))] }
        let deadline = timeout.map { ContinuousClock.now + $0 }
        while true {
            let changes = servers.changes.count
            let near = servers.placement.members.compactMap { lane in lane.connection.map { (lane, $0) } }
            let (answers, refusal) = await ask(request, near, patience)
            if !answers.isEmpty { return answers }
            if let refusal { throw .refused(refusal) }
            if servers.isClosed { throw .closed }
            if let deadline, ContinuousClock.now >= deadline { throw .timedOut }
            await servers.changes.next(after: changes, until: deadline)
        }
    }

    private func ask(
        _ request: Request, _ near: [(ServerLane, RPCConnection)], _ patience: Duration
    ) async -> (answers: [(ServerLane, Reply)], refusal: Refusal?) {
        enum Event: Sendable {
            case answered(ServerLane, Reply), lost(ServerLane), late
        }
        return await withTaskGroup(of: Event.self) { group in
            for (lane, connection) in near {
                group.addTask { (try? await connection.call(request)).map { .answered(lane, $0) } ?? .lost(lane) }
            }
            var answers: [(ServerLane, Reply)] = []
            var refusal: Refusal?
            let lively = near.filter { !$0.1.isQuiet }
            var awaited = Set((lively.isEmpty ? near : lively).map(\.0.server))
            collecting: while !awaited.isEmpty, let event = await group.next() {
                switch event {
                case .late: break collecting
                case .lost(let lane): awaited.remove(lane.server)
                case .answered(let lane, let reply):
                    awaited.remove(lane.server)
                    if case .refused(let reason) = reply.response {
                        if reason.reason != .closing { refusal = reason }
                        continue
                    }
                    if answers.isEmpty, !awaited.isEmpty {
                        group.addTask {
                            try? await Task.sleep(for: patience)
                            return .late
                        }
                    }
                    answers.append((lane, reply))
                }
            }
            group.cancelAll()
            return (answers, refusal)
        }
    }

    /// All of a block, from the first server that gives it.
    func whole(_ block: BlockID) async -> ByteBuffer? {
        await withTaskGroup(of: ByteBuffer?.self) { group in
            for connection in servers.lanes.compactMap(\.connection) {
                group.addTask {
                    let bytes = try? await connection.call(.get(block: block, offset: 0, length: 0)).payload
                    let isIt = bytes?.withUnsafeReadableBytes { BlockID(hashing: $0) == block } ?? false
                    return isIt ? bytes : nil
                }
            }
            defer { group.cancelAll() }
            for await bytes in group { if let bytes { return bytes } }
            return nil
        }
    }

    /// A request that may be repeated: carried to its answer over as many connections as it takes.
    func ask(_ request: Request, of lane: ServerLane) async throws(VolumeError) -> Reply {
        while true {
            let connection: RPCConnection
            do throws(NetworkError) {
                connection = try await lane.link.connection(wait: timeout)
            } catch {
                throw .network(error)
            }
            let reply: Reply
            do throws(NetworkError) {
                reply = try await connection.call(request)
            } catch {
                // What another connection would not cure is passed on.
                if error.isPermanent { throw .network(error) }
                continue
            }
            if case .refused(let refusal) = reply.response {
                if refusal.reason == .closing { continue }
                throw .refused(refusal)
            }
            return reply
        }
    }
}
