import TestSupport
import Testing

@testable import LanfsProtocol

/// The numbered rules of the protocol that a core decides in one of the simulated worlds. What a shell sees from outside says that
/// one decided something: the cores that ship know nothing of it.
enum Rule: Int, CaseIterable {
    case A1, A2, A3, A4, A5, A6
    case P1, P2, P3, P4, P5, P6, P7
    case L1, L2, L3, L4, L5, L7
    case B1, B2, B3, B4
    /// Three decisions: what is lost is replaced, what came back is not, what is too much goes.
    case B5, B5Return, B5Surplus
    case B6
    case G1, G2, G4, G5, G6, G7, G8
    case M1, M2, M3
    case F1

    static let agreement: [Rule] = [.A1, .A2, .A3, .P1, .P2, .P3, .P5, .P6, .P7]
    static let moving: [Rule] = agreement + [.A4, .M1, .M2]
    static let recovering: [Rule] = [.M2, .M3]
    static let remembering: [Rule] = [.M3, .F1]
    static let ofTimeAndDisk: [Rule] = [.A5, .A6, .P4, .L1, .L2, .L3, .L4, .L5, .L7]
    static let garbage: [Rule] = [.G1, .G2, .G4, .G5, .G6, .G8]
    static let repair: [Rule] = [.B1, .B2, .B3, .B4, .B5, .B5Return, .B5Surplus, .B6] + [.G1, .G2, .G4, .G5, .G6, .G7, .G8]

    /// The number as the protocol has it.
    var number: String { String("\(self)".prefix(2)) }

    /// The rules that no simulated core decides, and what does.
    static let elsewhere: [String: String] = [
        "L6": "`Reexecution` is LanfsFileSystem's: ClientSimulationTests there has clients that overtake each other",
        "T1": "operations are functions on the tree: LanfsFileSystem's tests compare them with a model",
        "T2": "as L6",
        "T3": "as T1: what an operation reads is in the file system's code",
        "T4": "inode numbers are the client's",
        "T5": "the client table is the root's contents: here the simulated clients keep one, and the oracle checks it",
        "G3": "what a commit may name is built into the client: its base, and its own uploads",
        "F2": "what a writer last saw is in the sealed contents",
        "F3": "beacons go from client to client",
        "F4": "a fingerprint is for a person to compare",
        "F5": "`VolumeCreation` runs once in a volume's life: ProposerTests has its orders of answers",
    ]
}

/// A rule that never decided anything was not tested, whatever the seeds say. One seed alone need not meet all.
func expect(_ rules: [Rule], in tally: Tally) {
    guard environment("LANFS_SEED") == nil else { return }
    for rule in rules { #expect(tally.count(of: rule) > 0, "no seed met \(rule)") }
    print("  \(rules.map { "\($0) \(tally.count(of: $0))" }.joined(separator: ", "))")
}

extension Tally {
    /// What a keeper made of a request.
    mutating func note(_ request: RegisterRequest, _ step: KeeperStep) {
        if step.persist?.isAmnesiac == true, request.chosen != nil { note(.A6) }
        guard let response = step.response else { return }
        switch (request.body, response.verdict) {
        case (.prepare(let ballot), .refused(.outbid)):
            note(.A1)
            if response.highest > ballot { note(.A3) }
        case (.accept, .refused(.outbid)): note(.A2)
        case (_, .refused(.wrongEpoch)): note(.A4)
        case (_, .refused(.held)): note(.L2)
        case (.initialize(let record, _), .yes) where record.sealedNext != nil && step.persist != nil: note(.M2)
        case (.recover, .yes) where step.persist != nil: note(.M3)
        default: break
        }
    }

    /// What a proposer wants after an event.
    ///
    /// - Parameter isCommitting: a commit of its client is under way.
    mutating func note(_ effect: ProposerEffect, after event: ProposerEvent, isCommitting: Bool) {
        switch effect {
        case .send(_, let request):
            switch request.body {
            // Nobody asked it to propose anything: it completes what it found.
            case .accept: note(isCommitting ? .P2 : .P1)
            // Or to give anything back: it was refused by too many.
            case .release: if case .release = event {} else { note(.P7) }
            default: break
            }
        case .committed: note(.P3)
        case .unknown: note(.P5)
        case .expired:
            note(.L1)
            note(.L3)
        case .joining: note(.L4)
        case .fetch, .wanted, .acquired, .wake, .tooLarge, .lost, .moved, .troubled: break
        }
    }

    /// A commit on a root that its proposer made needs no Prepare.
    mutating func noteCommit(by proposer: Proposer<SimulatedAuthority>) {
        if proposer.base?.ballot.proposer == proposer.id { note(.P6) }
    }
}
