import LanfsFileSystem
import LanfsTree

extension Tree {
    /// Runs a function of the file system and keeps what it changed, all of it or nothing.
    ///
    /// - Parameter pending: takes in the newest value of each key that changed.
    mutating func change<Value>(
        _ nodes: NodeCache, _ pending: inout [Key: [UInt8]?], _ body: (inout Transaction) throws(Interruption) -> Value
    ) throws(Pause) -> Value {
        let value: Value
        let changes: [Change]
        do throws(Interruption) {
            var transaction = Transaction(reading: self, nodes: nodes)
            value = try body(&transaction)
            changes = transaction.changes
        } catch {
            throw Pause(error)
        }
        // The transaction is gone here, so the tree has one owner and changes in place.
        do throws(MissingNode) {
            try apply(changes, nodes: nodes)
        } catch {
            throw .node(error)
        }
        for change in changes { pending[change.key] = .some(change.value) }
        return value
    }
}
