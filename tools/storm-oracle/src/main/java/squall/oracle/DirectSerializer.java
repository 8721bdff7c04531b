package squall.oracle;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.List;
import java.util.Map;
import org.apache.storm.multilang.JsonSerializer;
import org.apache.storm.multilang.NoOutputException;
import org.apache.storm.multilang.ShellMsg;
import org.apache.storm.utils.Utils;

/**
 * Storm's serializer with one defect mended: since 2.6.0 it casts the task of a direct emit to a Long, while its JSON
 * library has an Integer for it, so that a child's direct emit ends the worker. Bolts only: of their messages it reads
 * emits, acks, fails, errors and logs, the latter without level.
 */
public final class DirectSerializer extends JsonSerializer {
    private static final long serialVersionUID = 1L;

    @Override
    public ShellMsg readShellMsg() throws IOException, NoOutputException {
        Map<?, ?> read = readMessage();
        ShellMsg message = new ShellMsg();
        message.setCommand((String) read.get("command"));
        message.setId(read.get("id"));
        message.setMsg((String) read.get("msg"));
        Object stream = read.get("stream");
        message.setStream(stream == null ? Utils.DEFAULT_STREAM_ID : (String) stream);
        Object task = read.get("task");
        message.setTask(task == null ? 0 : ((Number) task).longValue());
        message.setNeedTaskIds(!Boolean.FALSE.equals(read.get("need_task_ids")));
        message.setTuple(list(read.get("tuple")));
        Object anchors = read.get("anchors");
        for (Object anchor : anchors == null ? List.of() : anchors instanceof String ? List.of(anchors) : list(anchors)) {
            message.addAnchor((String) anchor);
        }
        return message;
    }

    @SuppressWarnings("unchecked")
    private static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    private Map<?, ?> readMessage() throws IOException, NoOutputException {
        try {
            Method method = JsonSerializer.class.getDeclaredMethod("readMessage");
            method.setAccessible(true);
            return (Map<?, ?>) method.invoke(this);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof NoOutputException) {
                throw (NoOutputException) e.getCause();
            }
            throw new IOException(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }
}
