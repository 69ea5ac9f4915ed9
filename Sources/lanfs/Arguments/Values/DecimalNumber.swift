/// The number at the start of a size or a duration, such as the `1.5` of `1.5T`, kept exact: no floating point, so that
/// `1.1T` means the same number of bytes everywhere.
struct DecimalNumber: Equatable {
    /// All digits as one integer, and how many of them stand after the point.
    let digits: UInt64
    let fractionDigits: Int

    /// 10 to this power fits in 64 bits.
    private static let mostFractionDigits = 18

    /// Reads as many characters as belong to the number and gives back the rest. Nil: there is no number here, or it
    /// has more digits than any size or duration can need.
    static func parse(_ bytes: ArraySlice<UInt8>) -> (number: DecimalNumber, rest: ArraySlice<UInt8>)? {
        var digits: UInt64 = 0
        var whole = 0
        var fraction = 0
        var seenPoint = false
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let byte = bytes[index]
            if byte == UInt8(ascii: "."), !seenPoint {
                seenPoint = true
            } else if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
                let (tens, overTens) = digits.multipliedReportingOverflow(by: 10)
                let (sum, overSum) = tens.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
                if overTens || overSum { return nil }
                digits = sum
                if seenPoint { fraction += 1 } else { whole += 1 }
            } else {
                break
            }
            index += 1
        }
        // `5.` and `.5` are more likely slips than numbers.
        guard whole > 0, !seenPoint || fraction > 0, fraction <= mostFractionDigits else { return nil }
        return (DecimalNumber(digits: digits, fractionDigits: fraction), bytes[index...])
    }

    /// This number times `unit`, rounded down; nil when it does not fit in 63 bits.
    func scaled(by unit: UInt64) -> UInt64? {
        var divisor: UInt64 = 1
        for _ in 0..<fractionDigits { divisor *= 10 }
        let product = digits.multipliedFullWidth(by: unit)
        guard product.high < divisor else { return nil }
        let quotient = divisor.dividingFullWidth(product).quotient
        return quotient <= UInt64(Int64.max) ? quotient : nil
    }

    var isWhole: Bool { fractionDigits == 0 }
}
