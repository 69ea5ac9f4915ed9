import LanfsNetwork
import LanfsProtocol
import LanfsStore
import NIOCore

/// What another member asks over the connection that it opened.
final class MemberSession: OpenSession {
    private let member: ServerID
    private let volume: ServedVolume
    private let connection: ServerConnection
    private let threads: DiskThreads

    private var members: VolumeMembers { volume.members }

    init(_ member: ServerID, _ volume: ServedVolume, connection: ServerConnection, threads: DiskThreads) {
        self.member = member
        self.volume = volume
        self.connection = connection
        self.threads = threads
    }

    func left() {}

    func received(_ request: Request, payload: ByteBuffer?, id: RequestID) {
        switch request {
        // What waits for the disk's flush.
        case .introduce, .ask(.holdings), .ask(.challenge):
            threads.flush { self.answer(request, payload, id) }
        default: threads.work { self.answer(request, payload, id) }
        }
    }

    private func answer(_ request: Request, _ payload: ByteBuffer?, _ id: RequestID) {
        // It may have left since it connected.
        guard members.isMember(member) else {
            connection.reply(id, .refused(.notMember))
            return connection.close()
        }
        switch request {
        case .introduce(let record, let endpoints):
            connection.reply(id, members.introduced(record, endpoints) ? .done : .refused(.notMember))
        case .ask(let message): answer(message, payload, id)
        default: connection.reply(id, .refused(Refusal(.invalid, "members only ask each other")))
        }
    }

    private func answer(_ message: MemberMessage, _ payload: ByteBuffer?, _ id: RequestID) {
        switch message {
        case .heartbeat(let heartbeat):
            members.decide { [member] core, now in core.heard(heartbeat, from: member, now: now) }
            let newer = members.state.withLock { state in
                state.book.record.flatMap { $0.config.version > heartbeat.configVersion ? $0 : nil }
            }
            connection.reply(id, newer.map { .record($0) } ?? .done)
        case .holdings(let query):
            reply(id, members.held(query).map { .held($0) })
        case .copy(let order):
            members.takeIn(order, payload ?? ByteBuffer()) { outcome in
                self.reply(id, .copied(CopyAnswer(block: order.block, outcome: outcome)))
            }
        case .challenge(let challenge):
            reply(id, .possession(members.prove(challenge, to: member)))
        case .wanted(let block):
            guard let (bytes, gcEpoch) = members.verified(block) else { return connection.reply(id, .done) }
            let order = CopyOrder(block: block, length: UInt32(bytes.count), gcEpoch: gcEpoch)
            connection.reply(id, .told(.copy(order)), payload: ByteBuffer(bytes: bytes))
        case .pass(let order, let servers):
            volume.pass(order, payload ?? ByteBuffer(), to: servers) { _ in
            } answer: { failed in
                self.reply(id, .passed(order.block, failed: failed))
            }
        case .held, .copied, .possession, .passed:
            connection.reply(id, .refused(Refusal(.invalid, "an answer to nothing")))
        }
    }

    private func reply(_ id: RequestID, _ message: MemberMessage?) {
        connection.reply(id, message.map { .told($0) } ?? .refused(Refusal(.diskFailed, "this server's disk failed")))
    }
}

extension Refusal {
    static let notMember = Refusal(.notAdmitted, "not a server of this volume, as far as is known here")
}

extension VolumeMembers {
    /// Which of the page's blocks are here; their tags rise to the asker's (G1). `nil`: the disk failed. Blocks.
    func held(_ query: HoldingsQuery) -> HoldingsAnswer? {
        do throws(StoreError) {
            let held = try blocks.raise(query.blocks.map { ($0.block, $0.gcEpoch) })
            return HoldingsAnswer(page: query.page, held: held)
        } catch {
            context.failures.report(error, "answering which blocks are here")
            return nil
        }
    }

    /// Blocks.
    func prove(_ challenge: PossessionChallenge, to asker: ServerID) -> PossessionAnswer {
        var answer = PossessionAnswer(block: challenge.block, nonce: challenge.nonce, digest: nil)
        do throws(StoreError) {
            // The raised tag is on disk before the proof leaves.
            guard mayProve(challenge), try blocks.raise([(challenge.block, challenge.gcEpoch)]) == [true],
                let (bytes, _) = verified(challenge.block), mayProve(challenge)
            else { return answer }
            answer.digest = challenge.digest(of: bytes, asker: asker, prover: context.server)
        } catch {
            context.failures.report(error, "proving that a block is here")
        }
        return answer
    }

    private func mayProve(_ challenge: PossessionChallenge) -> Bool {
        state.withLock { $0.core?.view.mayProve(challenge) ?? false }
    }
}
