import CLinux

extension StepFailure {
  /// A failure on a C string's object.
  init(_ step: String, _ result: Int32, _ subject: UnsafePointer<CChar>?) {
    self.init(step: step, errno: -result, subject: text(subject))
  }

  /// As the child writes it on the status pipe: errno, the step's length, step, subject. One write, never split.
  var record: [UInt8] {
    var bytes: [UInt8] = []
    withUnsafeBytes(of: errno) { bytes.append(contentsOf: $0) }
    let name = step.utf8.prefix(255)
    bytes.append(UInt8(name.count))
    bytes.append(contentsOf: name)
    bytes.append(contentsOf: subject.utf8.prefix(1024))
    return bytes
  }
}

/// What a child said before it gave up; nil when it said nothing, which means that its program was exec'd.
func readStepFailure(_ bytes: [UInt8]) -> StepFailure? {
  guard !bytes.isEmpty else { return nil }
  guard bytes.count >= 5, bytes.count >= 5 + Int(bytes[4]) else {
    return StepFailure(step: "report", errno: EPROTO, subject: "")
  }
  let errno = bytes.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) }
  let end = 5 + Int(bytes[4])
  return StepFailure(
    step: String(decoding: bytes[5..<end], as: UTF8.self), errno: errno,
    subject: String(decoding: bytes[end...], as: UTF8.self))
}

/// Passes a system call's result on, or throws what failed. The subject is only made when needed.
@discardableResult
func require(
  _ result: Int32, _ step: @autoclosure () -> String, _ subject: @autoclosure () -> String = ""
) throws(StepFailure) -> Int32 {
  if result < 0 { throw StepFailure(step: step(), errno: -result, subject: subject()) }
  return result
}

/// As above, for an object that has a name in the request.
@discardableResult
func require(
  _ result: Int32, _ step: @autoclosure () -> String, on subject: UnsafePointer<CChar>?
) throws(StepFailure) -> Int32 {
  if result < 0 { throw StepFailure(step: step(), errno: -result, subject: text(subject)) }
  return result
}

/// A terminated copy of some bytes for a system call. Never freed: only a child that is about to exec makes them.
func terminated(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> UnsafeMutablePointer<CChar> {
  let copy = UnsafeMutablePointer<CChar>.allocate(capacity: count + 1)
  if let bytes, count > 0 { memcpy(copy, bytes, count) }
  copy[count] = 0
  return copy
}
