import Glibc
import LanfsCrypto
import LanfsProtocol
import NIOCore

/// A connection from its first byte to its last: handshake, then frames in both directions. On one event loop, but for
/// what threads send themselves (`Outbox`).
final class TransportHandler<Peer: TransportPeer>: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = IOData

    private enum Phase {
        case handshake
        /// The keys are there; the other side has not shown yet that it has them too.
        case greeting
        case open
        case ended
    }

    private let peer: Peer
    private let link: TransportLink
    private let handshake: any Handshake
    private let timeouts: Timeouts
    private let address: String

    private var context: ChannelHandlerContext?
    private var phase = Phase.handshake
    private var handshakeInput = ByteBuffer()
    private var session: Session?
    private var decoder: FrameDecoder<Peer.Incoming>?
    private var encoder: FrameEncoder?
    /// Takes the encoder's place once the connection is open.
    private var stream: OutgoingStream?

    /// Not admitted yet: reading has stopped.
    private var waiting: (id: RequestID, message: Peer.Incoming)?
    private var readIsHeld = false
    private var isProcessing = false

    private var isFinishing = false
    private var sentGoodbye = false
    private var receivedGoodbye = false
    private var end: TransportEnd?

    private var handshakeTimer: Scheduled<Void>?
    private var goodbyeTimer: Scheduled<Void>?
    private var ticker: Scheduled<Void>?
    private var heardSinceTick = false
    private var spokeSinceTick = false
    private var ticksUnheard = 0
    private var ticksWaiting = 0
    private var isQuiet = false
    private var ticksUnwritten = 0
    private var unwrittenAtTick = 0

    init(peer: Peer, link: TransportLink, handshake: any Handshake, timeouts: Timeouts, address: String) {
        self.peer = peer
        self.link = link
        self.handshake = handshake
        self.timeouts = timeouts
        self.address = address
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        link.attach(self)
        if context.channel.isActive { begin(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        link.attach(nil)
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard handshakeTimer == nil else { return }
        handshakeTimer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(timeouts.handshake)) {
            self.abort(.timedOut(what: "the secure handshake", address: self.address))
        }
        advance(handshake.start())
    }

    @specialized(where Peer == ClientPeer)
    @specialized(where Peer == ServerConnection)
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var chunk = unwrapInboundIn(data)
        heardSinceTick = true
        switch phase {
        case .handshake:
            handshakeInput.writeBuffer(&chunk)
            continueHandshake()
        case .greeting, .open:
            decoder?.feed(chunk)
            process()
        case .ended: break
        }
    }

    @specialized(where Peer == ClientPeer)
    @specialized(where Peer == ServerConnection)
    func read(context: ChannelHandlerContext) {
        if waiting == nil { context.read() } else { readIsHeld = true }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        abort(.disconnected(address: address, reason: reason(of: error)))
    }

    func channelInactive(context: ChannelHandlerContext) {
        if end == nil {
            let reason =
                switch phase {
                case .handshake, .greeting: "it was closed during the handshake"
                case .open, .ended: receivedGoodbye ? "it was shut down" : "it was cut off"
                }
            end = .failed(.disconnected(address: address, reason: reason))
        }
        phase = .ended
        for timer in [handshakeTimer, goodbyeTimer, ticker] { timer?.cancel() }
        link.outbox.close()
        decoder = nil
        encoder = nil
        stream = nil
        if let end { peer.ended(end) }
        context.fireChannelInactive()
    }
}

// MARK: Handshake

extension TransportHandler {
    private func continueHandshake() {
        while phase == .handshake {
            let step = handshake.receive(&handshakeInput)
            if case .needsMore = step {
                // Everything of the handshake fits many times: more than this is somebody filling memory.
                if handshakeInput.readableBytes > 2 * HandshakeWire.messageLimit {
                    fail(.violation("too much at once"))
                }
                return
            }
            advance(step)
        }
    }

    private func advance(_ step: HandshakeStep) {
        switch step {
        case .needsMore: break
        case .send(let bytes): write(ByteBuffer(bytes: bytes))
        case .failed(let bytes, let failure):
            if !bytes.isEmpty { write(ByteBuffer(bytes: bytes)) }
            fail(failure)
        case .finished(let bytes, let session):
            self.session = session
            phase = .greeting
            decoder = FrameDecoder(key: session.receiveKey, handshakeHash: session.handshakeHash)
            var first = ByteBuffer(bytes: bytes)
            var encoder = FrameEncoder(key: session.sendKey, handshakeHash: session.handshakeHash)
            guard seal({ () throws(CryptoError) in try encoder.begin(into: &first) }) else { return }
            self.encoder = consume encoder
            write(first)
            let rest = handshakeInput
            handshakeInput = ByteBuffer()
            decoder?.feed(rest)
            process()
        }
    }

    private func fail(_ failure: HandshakeFailure) {
        finishWith(.handshake(failure))
    }

    private func greeted() {
        guard let session else { return }
        handshakeTimer?.cancel()
        phase = .open
        openStream()
        scheduleTick()
        peer.established(session)
        self.session = nil
        drain()
    }

    private func openStream() {
        guard let encoder = encoder.take(), let context else { return }
        let socket = try? context.channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { fcntl($0, F_DUPFD_CLOEXEC, 0) }
        let stream = OutgoingStream(encoder, socket: socket.flatMap { $0 >= 0 ? $0 : nil }) { [peer] in peer.wrote($0) }
        self.stream = stream
        link.outbox.open(stream)
    }
}

// MARK: Receiving

extension TransportHandler {
    private func process() {
        // A peer that answers at once or resumes from within a callback must not start a second loop in this one.
        guard !isProcessing else { return }
        isProcessing = true
        defer { isProcessing = false }
        do {
            while waiting == nil, phase == .greeting || phase == .open, let step = try decoder?.next() {
                if case .needsMore = step { return }
                try handle(step)
            }
        } catch let failure as FrameDecoder<Peer.Incoming>.Failure {
            abort(.violation(address: address, what: failure.description))
        } catch let violation as Violation {
            abort(.violation(address: address, what: violation.what))
        } catch {
            abort(.disconnected(address: address, reason: reason(of: error)))
        }
    }

    private func handle(_ step: FrameDecoder<Peer.Incoming>.Step) throws {
        switch step {
        case .needsMore, .alive: break
        case .hello: greeted()
        case .announced(let id, let message):
            if try !peer.admits(message, id: id) { waiting = (id, message) }
        case .complete(let id, let message, let payload):
            try peer.received(message, payload: payload, id: id)
        case .goodbye:
            receivedGoodbye = true
            peer.saidGoodbye()
            closeIfBothSaidGoodbye()
        }
    }
}

// MARK: Sending and ending

extension TransportHandler: TransportActions {
    /// Payloads up to this many bytes are copied beside their message: cheaper than a further element of the write.
    private var copyLimit: Int { 8 * 1024 }
    private var batchLimit: Int { 256 * 1024 }

    @specialized(where Peer == ClientPeer)
    @specialized(where Peer == ServerConnection)
    func drain() {
        guard phase == .open, !sentGoodbye, let context, let stream, let (rest, messages) = link.outbox.takeAll() else { return }
        guard rest != nil || !messages.isEmpty else { return giveUpTurn() }
        var weight = rest?.weight ?? 0
        var saysGoodbye = false
        if let rest { context.write(wrapOutboundOut(.byteBuffer(rest.bytes)), promise: nil) }
        var batch = context.channel.allocator.buffer(capacity: min(messages.count * 256, batchLimit))
        for message in messages {
            weight += message.weight
            saysGoodbye = message.isLast
            guard seal({ () throws(CryptoError) in try stream.encode(message, into: &batch) }) else { return }
            switch message.payload {
            case nil: break
            case .bytes(let payload) where payload.readableBytes <= copyLimit: batch.writeImmutableBuffer(payload)
            case .bytes(let payload):
                context.write(wrapOutboundOut(.byteBuffer(batch)), promise: nil)
                context.write(wrapOutboundOut(.byteBuffer(payload)), promise: written(&weight))
                batch = context.channel.allocator.buffer(capacity: 256)
            case .file(let region):
                context.write(wrapOutboundOut(.byteBuffer(batch)), promise: nil)
                let promise = written(&weight)
                promise.futureResult.whenComplete { _ in try? region.fileHandle.close() }
                context.write(wrapOutboundOut(.fileRegion(region)), promise: promise)
                batch = context.channel.allocator.buffer(capacity: 256)
            }
            if batch.readableBytes >= batchLimit {
                context.write(wrapOutboundOut(.byteBuffer(batch)), promise: written(&weight))
                batch = context.channel.allocator.buffer(capacity: 256)
            }
        }
        let promise = written(&weight)
        let bound = NIOLoopBound(self, eventLoop: link.eventLoop)
        promise.futureResult.whenComplete { [saysGoodbye] _ in
            if saysGoodbye { bound.value.saidGoodbye() } else { bound.value.giveUpTurn() }
        }
        sentGoodbye = saysGoodbye
        spokeSinceTick = true
        context.writeAndFlush(wrapOutboundOut(.byteBuffer(batch)), promise: promise)
    }

    /// Threads may write again, once nothing of ours can come after them.
    private func giveUpTurn() {
        if unwritten == 0 { link.outbox.giveUpTurn() }
    }

    /// Reports `weight` to the peer once what is written with it has left, and starts counting anew.
    private func written(_ weight: inout Int) -> EventLoopPromise<Void> {
        let promise = link.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { [peer, weight] _ in peer.wrote(weight) }
        weight = 0
        return promise
    }

    @specialized(where Peer == ClientPeer)
    @specialized(where Peer == ServerConnection)
    func resume() {
        guard phase == .open, let (id, message) = waiting else { return }
        do {
            guard try peer.admits(message, id: id) else { return }
        } catch {
            abort(.violation(address: address, what: error.what))
            return
        }
        waiting = nil
        process()
        if waiting == nil, readIsHeld {
            readIsHeld = false
            context?.read()
        }
    }

    func finish() {
        switch phase {
        case .handshake, .greeting: abort(.closed(address: address))
        case .ended: break
        case .open:
            guard !isFinishing else { return }
            isFinishing = true
            link.outbox.append(last: .goodbye)
            drain()
        }
    }

    /// Only from here on: what is still being sent may take as long as it makes progress.
    private func saidGoodbye() {
        guard phase != .ended else { return }
        goodbyeTimer = context?.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(timeouts.goodbye)) {
            self.finishWith(.failed(.closed(address: self.address)))
        }
        closeIfBothSaidGoodbye()
    }

    private func closeIfBothSaidGoodbye() {
        guard sentGoodbye, receivedGoodbye, goodbyeTimer != nil else { return }
        finishWith(.failed(.disconnected(address: address, reason: "it was shut down")))
    }

    func abort(_ error: NetworkError) {
        finishWith(.failed(error))
    }

    private func finishWith(_ end: TransportEnd) {
        guard phase != .ended else { return }
        phase = .ended
        if self.end == nil { self.end = end }
        link.outbox.close()
        context?.close(promise: nil)
    }

    func failed(_ error: CryptoError) {
        abort(.disconnected(address: address, reason: error.description))
    }

    private func seal(_ body: () throws(CryptoError) -> Void) -> Bool {
        do throws(CryptoError) {
            try body()
            return true
        } catch {
            failed(error)
            return false
        }
    }

    private func write(_ buffer: ByteBuffer) {
        spokeSinceTick = true
        context?.writeAndFlush(wrapOutboundOut(.byteBuffer(buffer)), promise: nil)
    }
}

// MARK: Signs of life

extension TransportHandler {
    private func scheduleTick() {
        ticker = context?.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(timeouts.tick)) {
            self.tick()
            if self.phase == .open { self.scheduleTick() }
        }
    }

    private func tick() {
        guard phase == .open else { return }
        ticksUnheard = heardSinceTick ? 0 : ticksUnheard + 1
        ticksWaiting = heardSinceTick || !peer.isWaiting ? 0 : ticksWaiting + 1
        if (ticksWaiting >= timeouts.quietTicks) != isQuiet {
            isQuiet.toggle()
            peer.became(quiet: isQuiet)
        }
        if ticksWaiting > timeouts.silentTicks {
            return abort(.disconnected(address: address, reason: "no sign of life for \(timeouts.silence)"))
        }
        if waiting == nil, decoder?.isMidMessage == true, ticksUnheard > timeouts.stalledTicks {
            return abort(.disconnected(address: address, reason: "it stopped in the middle of a message"))
        }

        let unwritten = unwritten
        ticksUnwritten = unwritten > 0 && unwritten == unwrittenAtTick ? ticksUnwritten + 1 : 0
        unwrittenAtTick = unwritten
        if ticksUnwritten > timeouts.stalledTicks {
            return abort(.disconnected(address: address, reason: "it takes no data any more"))
        }

        // While bytes wait to be sent the other side hears from us as it is.
        let hasSpoken = stream?.takeSpoken() ?? false || spokeSinceTick
        if Peer.givesSignsOfLife, !hasSpoken, !sentGoodbye, unwritten == 0, heardSinceTick || peer.owesAnswers {
            link.send(.alive)
        }
        heardSinceTick = false
        spokeSinceTick = false
    }

    /// Bytes that NIO has and the socket has not.
    private var unwritten: Int {
        guard let context else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }
}
