import LanfsTree
import SystemPackage

/// Why an operation stopped. What it wrote so far is worth nothing then: the caller drops the transaction.
public enum Interruption: Error, Equatable, Sendable {
    /// The operation's answer. `EIO` says that a record of the tree is not what it should be: ``Transaction/check()``
    /// names it.
    case failed(Errno)
    /// Fetch this node and run the operation again from the start, in a new transaction.
    case missing(MissingNode)
}

extension Interruption: CustomStringConvertible {
    public var description: String {
        switch self {
        case .failed(let errno): "the operation failed: \(errno)"
        case .missing(let node): node.description
        }
    }
}
