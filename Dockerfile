FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md constraints.txt ./
COPY medcbir medcbir
COPY migrations migrations
COPY sql sql
RUN pip install --no-cache-dir --constraint constraints.txt ".[dicom]"
ENTRYPOINT ["medcbir"]
