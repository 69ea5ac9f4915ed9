import Testing

@testable import LanfsProtocol

/// The rules of the register that a simulation has to meet. What a shell sees from outside says that one decided something:
/// the cores that ship know nothing of it.
enum Rule: Int, CaseIterable {
    case A1, A2, A3, A4, A5
    case P1, P3, P4, P5, P6, P7
    case L1, L2, L3
    case M2, M3
    case F1

    static let agreement: [Rule] = [.A1, .A2, .A3, .P1, .P3, .P5, .P6, .P7]
    static let ofTimeAndDisk: [Rule] = [.A5, .P4, .L1, .L2, .L3]
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
            case .accept where !isCommitting: note(.P1)
            // Or to give anything back: it was refused by too many.
            case .release: if case .release = event {} else { note(.P7) }
            default: break
            }
        case .committed: note(.P3)
        case .unknown: note(.P5)
        case .expired:
            note(.L1)
            note(.L3)
        case .wanted, .acquired, .wake, .tooLarge, .lost, .moved, .troubled: break
        }
    }

    /// A commit on a root that its proposer made needs no Prepare.
    mutating func noteCommit(by proposer: Proposer<SimulatedAuthority>) {
        if proposer.base?.ballot.proposer == proposer.id { note(.P6) }
    }
}
