import LanfsNetwork
import LanfsProtocol
import Logging
import NIOCore

extension BlockPool {
    /// The opened frames of a run: each of `Limits.chunkSize` but the last.
    ///
    /// - Parameter patience: servers that are away are waited for no longer, nor than the pool's own time.
    func frames(_ run: FrameRef, within patience: Duration? = nil) async throws(VolumeError) -> [[UInt8]] {
        let size = UInt32(Limits.sealedChunkSize)
        var frames: [FrameRef] = []
        var offset: UInt32 = 0
        while offset < run.length {
            frames.append(
                FrameRef(
                    block: run.block, key: run.key, index: run.index + UInt32(frames.count),
                    offset: run.offset + offset, length: min(size, run.length - offset)))
            offset += size
        }
        return try await self.frames(of: frames, within: patience)
    }

    /// Opened frames that lie one after the other in one block, fetched in one request.
    func frames(of frames: [FrameRef], within patience: Duration? = nil) async throws(VolumeError) -> [[UInt8]] {
        guard let first = frames.first else { return [] }
        let length = frames.reduce(0) { $0 + Int($1.length) }
        guard length <= Limits.blockSize else { throw .damaged("the reference to block \(first.block.hex.prefix(16))") }
        if let bytes = unflushed(first.block)?.getSlice(at: Int(first.offset), length: length) {
            return try open(frames, in: bytes)
        }
        let request = Request.get(block: first.block, offset: first.offset, length: UInt32(length))
        if let alone = servers.alone { return try open(frames, in: try await ask(request, of: alone)) }
        return try await fetch(frames, request, within: [timeout, patience].compactMap { $0 }.min())
    }

    private func open(_ frames: [FrameRef], in reply: Reply) throws(VolumeError) -> [[UInt8]] {
        guard case .block = reply.response, let bytes = reply.payload else {
            throw .damaged("the answer for block \(frames[0].block.hex.prefix(16))")
        }
        return try open(frames, in: bytes)
    }

    private func open(_ frames: [FrameRef], in bytes: ByteBuffer) throws(VolumeError) -> [[UInt8]] {
        let length = frames.reduce(0) { $0 + Int($1.length) }
        guard bytes.readableBytes == length else { throw .damaged("the answer for block \(frames[0].block.hex.prefix(16))") }
        var opened: [[UInt8]] = []
        opened.reserveCapacity(frames.count)
        do {
            try bytes.withUnsafeReadableBytes { bytes in
                for frame in frames {
                    let start = Int(frame.offset - frames[0].offset)
                    opened.append(
                        try frame.open(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(frame.length)])))
                }
            }
        } catch {
            throw .damaged("block \(frames[0].block.hex.prefix(16)) (\(error))")
        }
        return opened
    }

    // MARK: Several copies

    private enum Event: Sendable {
        case answered(ServerLane, Result<Reply, NetworkError>)
        /// Nobody else was asked since this many were.
        case late(asked: Int)
    }

    /// Reads the copies one after the other until one opens: the next is asked when the one before fails, or is late. What
    /// only a server that is away may have is waited for.
    private func fetch(
        _ frames: [FrameRef], _ request: Request, within patience: Duration?
    ) async throws(VolumeError) -> [[UInt8]] {
        let block = frames[0].block
        let deadline = patience.map { ContinuousClock.now + $0 }
        var failures: [ServerID: VolumeError] = [:]
        var waitsSince: ContinuousClock.Instant?
        defer { if waitsSince != nil { absence.end() } }
        while true {
            let changes = servers.changes.count
            let placement = servers.placement
            let untried = placement.readers(of: block).filter { failures[$0.server] == nil }
            if untried.isEmpty {
                throw failures.values.first { if case .damaged = $0 { true } else { false } } ?? failures.values.first
                    ?? .noServer
            }
            let near = untried.compactMap { lane in lane.connection.map { (lane, $0) } }
            if near.isEmpty {
                if servers.isClosed { throw .closed }
                let names = untried.map(\.link.name).joined(separator: ", ")
                let now = ContinuousClock.now
                if let deadline, now >= deadline { throw .network(.deadlineExceeded(server: names, lastFailure: nil)) }
                if waitsSince == nil { absence.begin() }
                let since = waitsSince ?? now
                waitsSince = since
                // Connections that are just being made are no news.
                let isNews = now - since >= Absence.patience
                if isNews { absence.tell(of: names, log) }
                let next = isNews ? deadline : [deadline, since + Absence.patience].compactMap { $0 }.min()
                await servers.changes.next(after: changes, until: next)
                if Task.isCancelled { throw .failed(.interrupted) }
                continue
            }
            if let opened = await race(frames, request, near, &failures) { return opened }
        }
    }

    private func race(
        _ frames: [FrameRef], _ request: Request, _ copies: [(ServerLane, RPCConnection)],
        _ failures: inout [ServerID: VolumeError]
    ) async -> [[UInt8]]? {
        let (events, sink) = AsyncStream.makeStream(of: Event.self)
        var asked = 0
        var open = 0
        func askNext() {
            guard asked < copies.count else { return }
            let (lane, connection) = copies[asked]
            asked += 1
            open += 1
            lane.read(request, on: connection) { sink.yield(.answered(lane, $0)) }
            guard asked < copies.count else { return }
            servers.eventLoop.scheduleTask(in: TimeAmount(lane.lateAfter)) { [asked] in sink.yield(.late(asked: asked)) }
        }
        askNext()
        for await event in events {
            switch event {
            case .late(let number): if number == asked { askNext() }
            case .answered(let lane, let result):
                open -= 1
                do throws(VolumeError) {
                    if let opened = try take(result, frames) { return opened }
                } catch {
                    failures[lane.server] = error
                    noteFailure(error, frames[0].block, lane)
                }
                if open == 0, asked == copies.count { return nil }
                askNext()
            }
        }
        return nil
    }

    /// `nil`: the connection ended, and another one may tell.
    private func take(_ result: Result<Reply, NetworkError>, _ frames: [FrameRef]) throws(VolumeError) -> [[UInt8]]? {
        guard case .success(let reply) = result else { return nil }
        if case .refused(let refusal) = reply.response {
            if refusal.reason == .closing { return nil }
            throw .refused(refusal)
        }
        return try open(frames, in: reply)
    }

    /// B4: a copy that does not open, or is not where it was said to be, is for people to know.
    private func noteFailure(_ error: VolumeError, _ block: BlockID, _ lane: ServerLane) {
        let what: Logger.Message
        switch error {
        case .damaged: what = "a server gave bytes that are not what was stored there; another copy is read"
        case .refused(let refusal) where refusal.reason == .notFound && receipts.has(block, of: lane.server):
            what = "a server does not have a block that it said it had stored; another copy is read"
        default: return
        }
        log.error(what, metadata: ["server": "\(lane.link.name)", "block": "\(block.hex.prefix(16))"])
    }
}
