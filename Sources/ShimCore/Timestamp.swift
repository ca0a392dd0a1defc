/// A wall-clock time as the log format has it: RFC 3339, UTC, always nine digits: `2026-11-23T16:00:00.000000000Z`.
enum Timestamp {
  static let size = 30

  /// Writes `size` bytes.
  static func store(_ nanoseconds: Int64, to bytes: UnsafeMutableRawBufferPointer) {
    let seconds = max(0, nanoseconds) / 1_000_000_000
    let days = seconds / 86400
    let second = seconds % 86400
    let (year, month, day) = civil(days)
    put(year, 4, bytes, 0)
    bytes[4] = 0x2d
    put(month, 2, bytes, 5)
    bytes[7] = 0x2d
    put(day, 2, bytes, 8)
    bytes[10] = 0x54
    put(second / 3600, 2, bytes, 11)
    bytes[13] = 0x3a
    put(second / 60 % 60, 2, bytes, 14)
    bytes[16] = 0x3a
    put(second % 60, 2, bytes, 17)
    bytes[19] = 0x2e
    put(max(0, nanoseconds) % 1_000_000_000, 9, bytes, 20)
    bytes[29] = 0x5a
  }

  private static func put(_ value: Int64, _ digits: Int, _ bytes: UnsafeMutableRawBufferPointer, _ offset: Int) {
    var rest = value
    var index = offset + digits - 1
    while index >= offset {
      bytes[index] = UInt8(0x30 + rest % 10)
      rest /= 10
      index -= 1
    }
  }

  /// The Gregorian date of a day after 1970-01-01, counted in 400-year eras that begin on 1 March.
  private static func civil(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (
      yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    )
  }
}
